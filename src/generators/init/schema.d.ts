export interface InitGeneratorSchema {
  region?: string;
  bucket?: string;
  instance?: string;
}
