/** Files that may hold secrets; a pattern that matches a directory is for all that is in it. */
export const SENSITIVE_FILES = [
  ...['**/.env*', '**/*.env', '**/*secret*', '**/*credential*', '**/*password*', '**/*passwd*'],
  // Not *token*: tokenizers are in every project that trains a language model.
  ...['**/token', '**/token.*', '**/*_token', '**/*_token.*', '**/.vault-token'],
  ...['**/*.pem', '**/*.key', '**/*.p12', '**/*.pfx', '**/*.jks', '**/*.keystore', '**/*.ppk'],
  ...['**/id_rsa*', '**/id_dsa*', '**/id_ecdsa*', '**/id_ed25519*', '**/.ssh', '**/.gnupg'],
  ...['**/.netrc', '**/.npmrc', '**/.yarnrc.yml', '**/.pypirc', '**/.htpasswd', '**/.pgpass', '**/.my.cnf'],
  ...['**/.aws', '**/.docker', '**/.kube', '**/.azure', '**/kubeconfig', '**/*.tfstate*', '**/*.tfvars'],
];
