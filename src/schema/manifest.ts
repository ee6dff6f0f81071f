/**
 * A manifest: a snapshot as an object in the store. It is parsed by hand, since it may name each file of a workspace:
 * import types alone from here. The descriptions are those of docs/reference/fields.md.
 */
import { z } from 'zod';

const text = z.string();

/** What a manifest says of where contents are. */
export const contentLocations = z.object({
  recipes: z
    .record(text, text)
    .describe('By content, its recipe: for each chunk, SHA-256 and size as 36 bytes; base64.'),
  packs: z.array(z.tuple([text, z.number()])).describe('The packs that hold the chunks: `["<sha256>", <bytes>]`.'),
  inline: z.record(text, text).describe('Contents that are in no pack: zlib, base64.'),
});

/** `v`, `snapshot` and `base` come first, in this order. */
export const fullManifest = z.object({
  v: z.literal(2),
  snapshot: text,
  base: z.null(),
  canonical: text.describe('The canonical form of the snapshot.'),
  ...contentLocations.shape,
});

export const deltaManifest = z.object({
  v: z.literal(2),
  snapshot: text,
  base: text.describe('The snapshot that it changes.'),
  deleted: z.array(text).describe('Paths of the base that the snapshot lacks.'),
  entries: text.describe('Entries that the base lacks or has otherwise, in canonical form.'),
  ...contentLocations.shape,
});

export type ContentLocations = z.infer<typeof contentLocations>;
export type Manifest = z.infer<typeof fullManifest> | z.infer<typeof deltaManifest>;
