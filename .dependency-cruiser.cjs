/**
 * Folders of src/ by layers, the highest first: a folder imports from itself and from the layers below it, so that folders on one
 * layer do not import each other. A folder with folders inside is its own files. Specs and fixtures may import anything.
 */
const layers = [
  ['index', 'executors/remote-[a-z-]+', 'generators', 'cli', 'ui/page'],
  ['ui'],
  ['executors/training'],
  ['executors/lib'],
  ['run/stop'],
  ['run/fleet', 'run/report'],
  ['run/start', 'run/compare', 'run/ssh'],
  ['run/status', 'run/shell', 'run/ports', 'run/pool'],
  ['run/find', 'run/follow', 'run/artifacts', 'run/metrics', 'watch', 'prune'],
  ['run/artifacts/write'],
  ['run/record', 'doctor'],
  ['project'],
  ['context'],
  ['instance/launch', 'sync/pipeline', 'sync/restore'],
  ['instance/pool', 'instance/ready', 'sync/transport'],
  ['instance/stop', 'sync/manifest'],
  ['instance/inventory', 'instance/fleet', 'sync/context'],
  ['instance/describe'],
  ['instance/price'],
  ['command'],
  ['store/packs'],
  ['store'],
  ['store/objects'],
  ['workspace/files'],
  ['workspace/listing'],
  ['workspace'],
  ['workspace/git'],
  ['snapshot'],
  ['config'],
  ['config/targets'],
  ['config/settings'],
  ['config/sources', 'config/environment'],
  ['config/schema'],
  ['config/syntax'],
  ['aws'],
  ['system'],
  ['schema'],
  ['report'],
];
/** Those of local AWS. */
const localAws = [
  ['local-aws'],
  [
    'local-aws/ec2',
    'local-aws/imds',
    'local-aws/instanceconnect',
    'local-aws/pricing',
    'local-aws/s3',
    'local-aws/secretsmanager',
    'local-aws/servicequotas',
    'local-aws/ssm',
    'local-aws/sts',
  ],
  ['local-aws/ec2/fleets'],
  ['local-aws/ec2/launch'],
  ['local-aws/ec2/spot', 'local-aws/ec2/templates'],
  ['local-aws/ec2/instances'],
  ['local-aws/ec2/network', 'local-aws/ec2/reservations', 'local-aws/ec2/volumes'],
  ['local-aws/ec2/request', 'local-aws/session'],
  ['local-aws/instance'],
  ['local-aws/catalog', 'local-aws/link', 'local-aws/state'],
  ['local-aws/protocol'],
];
const folders = [...layers, ...localAws].flat();
const TESTS = '[.](spec|fixture)[.]ts$';
const hasFolders = (folder) => folders.some((other) => other.startsWith(`${folder}/`));
const pathOf = (folder) => (hasFolders(folder) ? `^src/${folder}/[^/]+$` : `^src/${folder}(/|[.]ts$)`);
const layerRules = (levels) =>
  levels.flatMap((level, layer) =>
    level.flatMap((folder) => {
      const barred = [...levels.slice(0, layer).flat(), ...level.filter((other) => other !== folder)];
      // No path at all would mean any.
      if (barred.length === 0) return [];
      return {
        name: `layer-of-${folder}`,
        comment: `src/${folder} imports from the layers below it only.`,
        severity: 'error',
        from: { path: pathOf(folder), pathNot: TESTS },
        to: { path: barred.map(pathOf) },
      };
    }),
  );

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycle',
      comment: 'Files import each other in a circle: move what both need to a file of its own.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    ...[layers, localAws].flatMap(layerRules),
    {
      name: 'a-folder-has-a-layer',
      comment: 'Name the folder in .dependency-cruiser.cjs.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^src/', pathNot: [...folders.map(pathOf), '^src/projects/', TESTS] },
    },
    {
      name: 'local-aws-meets-the-client-on-the-wire',
      comment: 'src/local-aws and the client import nothing of each other.',
      severity: 'error',
      from: { path: '^src/local-aws/', pathNot: TESTS },
      to: { path: '^src/(?!local-aws/)' },
    },
    {
      name: 'the-client-meets-local-aws-on-the-wire',
      comment: 'src/local-aws and the client import nothing of each other; its command line starts it.',
      severity: 'error',
      from: { path: '^src/(?!local-aws/)', pathNot: [TESTS, '^src/cli/'] },
      to: { path: '^src/local-aws/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/generators/[^/]+/files/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
  },
};
