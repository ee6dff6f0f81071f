/** A plan that follows its command: see WaitingCommand. */
export interface AwaitedPlan {
  url: string;
  /** Base64. */
  key: string;
  /** How long it is waited for. */
  seconds: number;
  tree: string;
  root: string | null;
  /** Where the runtime is, for an instance that may lack it. */
  runtime?: { url: string };
}

/** What the runtime gets on standard input: docs/reference/formats.md, "Command". */
export type Request = {
  v: 1;
  runtime: string;
  /** The SHA-256 of compiled code that the instance has kept; null: none is known. Absent: it is to keep none. */
  compiled?: string | null;
  /** What must be secret to whoever reads the store. */
  signingKey?: string;
} & (
  | { plan: string }
  | { await: AwaitedPlan }
  /** `encryptionKey`: base64, of a sealed plan; `sha256` is that of the sealed bytes. */
  | { fetch: { url: string; sha256: string; encryptionKey?: string } }
);

/** What the bootstrap exits with on a Python older than 3.8; asking for the version beforehand costs a start. */
const PYTHON_TOO_OLD_EXIT = 88;
export const INTERPRETERS = ['python3', ...[14, 13, 12, 11, 10, 9, 8].map((minor) => `python3.${minor}`)].join(' ');

/**
 * The script of an SSM command, for any `sh`. Nothing in it is a user's text: the request is base64 on standard
 * input, the bootstrap is ours. It contains no `{{`, which SSM would resolve as a parameter.
 */
export function commandScript(bootstrap: string, request: Request): string {
  if (bootstrap.includes("'") || bootstrap.includes('{{')) {
    throw new Error("the bootstrap must hold neither a single quote nor '{{'");
  }
  const data = Buffer.from(JSON.stringify(request)).toString('base64');
  return `PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"
for python in ${INTERPRETERS}; do
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -I -S -B -c '${bootstrap}' <<'NX_EC2_REQUEST'
${data}
NX_EC2_REQUEST
  code=$?
  [ "$code" = ${PYTHON_TOO_OLD_EXIT} ] || exit "$code"
done
echo 'NX-EC2 {"v":1,"ok":false,"error":{"code":"NO_PYTHON","message":"there is no Python 3.8 or newer on the PATH","detail":{}}}'
exit 1
`;
}
