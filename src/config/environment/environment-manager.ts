/** A tool that Python environments are made with. */
export type EnvironmentManager = 'uv' | 'poetry' | 'conda' | 'pip' | 'none';
