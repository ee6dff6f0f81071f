import { posix } from 'node:path';
import { literalOutputs } from '../config/settings/outputs';
import { FileEvents } from '../workspace/files/file-events';
import { trackedBelow } from '../workspace/git/git-files';
import { FreshListing } from '../workspace/files/fresh-listing';
import { Rescan } from './rescan';
import { filesInput, type Workspace } from '../project/scan-project';
import { placesOf } from '../workspace/files/places';

/** A workspace of which one hears what happens in it, and what is there then. */
export async function openWorkspace(
  workspace: Workspace,
): Promise<{ events: FileEvents; rescan: Rescan; close(): Promise<void> }> {
  const { workspaceRoot, configuration, printer } = workspace;
  const listing = new FreshListing(workspaceRoot);
  listing.prepare();
  const { projectRoot, train } = configuration;
  const outputs = literalOutputs([...train.outputs, ...train.checkpoints.paths]).map((path) =>
    posix.join(projectRoot === '.' ? '' : projectRoot, path),
  );
  try {
    const events = new FileEvents({
      workspaceRoot,
      places: placesOf(filesInput(workspace)),
      except: outputs,
      // A file that git begins to track there is watched from the next start.
      tracked: (await Promise.all(outputs.map((output) => trackedBelow(workspaceRoot, output)))).flat(),
      onLoss: (why) =>
        printer.warn(
          `no file events (${why}), so all files are checked every few seconds. On Linux, raise fs.inotify.max_user_watches.`,
        ),
    });
    return {
      events,
      rescan: new Rescan(workspace, listing.list),
      close: async () => {
        events.close();
        await listing.close();
      },
    };
  } catch (error) {
    await listing.close();
    throw error;
  }
}
