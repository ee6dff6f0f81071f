import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './docs.fixture';

/** Words that docs/explanation/glossary.md replaced and that have no other meaning here, also as a part of a name. */
const WORDS = /wish(?:es|ed)?(?![a-z])|condemn|doomed|keeper/gi;
/** Names that were replaced. */
const NAMES = new Set(
  [
    'bringUp bringDown bringInStep seeOff giveUp isLiving lookAt stillThere madeKey MadeStart MadeInstance MadeFleet',
    'untilSilent sameTraining whatThereIs lookUpGround showThrough leftAlone leftForLater readFates overtaken',
    'Freight Unrecorded WatchTally tellOfConfiguration makeWhole recallHead putNamed getBounded sideBySide',
    'leaveRunning RunsSession openRuns bringUpReady BringUp BroughtUp LivingInstance toLiving launchedUnder wildcarded',
    'ownInstances ownFleets refuseGone describeTry isSameTry LaunchTerms withoutTwins sayOthers MadeRun fleetWish ',
    'lastWhenSettled awaitFirst endOfFleet cancelBetween cancelUnbegun isAwaited canGoOn whyNot showThroughWishes',
    'asEc2Knows chosenRun readOrNobodys runsUnderWay fateOf Fates endOverdue askRun askToStop renewAccess NO_ANSWER',
    'openSession openContents nameAll notUp Deposited lackingContents Whereabouts Remedy remedyOf isUnknownThere',
    'strategyOf packedStrategy rememberHead wholeRecord changeRecord foldRecords findNeeded PRUNE_SLEPT headNamed',
    'getChanged getBounded getEnd assumeHelper storeHelper wasDropped SILENCE refuseStaleHit',
    'withGrant grantLines madeName rememberTraining RecordKeys recordKey recordNeeds NewerRecord PreparedRecord',
    'prepareRecord descriptionSchema readDescription sessionClaim keep_room goes_on look_after make_room is_dressed',
    'look_closer take_scope refuse_stop refuse_stopped onInterrupt detachOnInterrupt launchClaim stopClaim runClaim',
    'RunClaim claimTraining disclaimTraining claimStateDirectory claimStage readClaim verifyClaim CLAIM_IMPOSSIBLE',
    'ManifestsData read_record read_records RECORD_LIMIT_BYTES SILENCE_S AT_ONCE LIMIT_BYTES TEXT_LIMIT_BYTES',
  ].flatMap((line) => line.split(' ')),
);

/** British spellings. `cancelled` is the name of a state in the store and of AWS. */
const BRITISH =
  /behaviour|colour|favour|honour|neighbour|licence|catalogue|artefact|centre\b|towards\b|whilst|learnt|misspelt|signalled|labelled|(?:initial|synchron|serial|recogn|organ|normal|optim|summar|random|minim|maxim|author|custom|sanit|final|general|special|token|priorit)is(?:e[ds]?\b|ing|ation)/gi;

function retiredWords(text: string): string[] {
  return [
    ...(text.match(WORDS) ?? []),
    ...(text.match(BRITISH) ?? []),
    ...(text.match(/[A-Za-z_$][\w$]*/g) ?? []).filter((name) => NAMES.has(name)),
  ];
}

function retiredIn(path: string): [path: string, word: string][] {
  return retiredWords(readFileSync(join(ROOT, path), 'utf8')).map((word) => [path, word]);
}

/** Files of a directory, relative to the repository. */
function sources(directory: string): string[] {
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'tmp' ? [] : sources(path);
    return /\.(ts|mjs|py|md)$/.test(entry.name) && !path.endsWith('/retired-words.spec.ts') ? [path] : [];
  });
}

describe('words that the glossary replaced, and British spellings,', () => {
  it.each(['src', 'e2e', 'bench', 'scripts', 'docs', 'examples'])('are not in %s', (directory) => {
    const files = sources(directory);
    expect(files.length).toBeGreaterThan(3);
    expect(files.flatMap(retiredIn)).toEqual([]);
  });

  it('are not in README.md and the other pages beside it', () => {
    const pages = readdirSync(ROOT).filter((name) => name.endsWith('.md'));
    expect(pages).toEqual(expect.arrayContaining(['README.md', 'CONTRIBUTING.md', 'PLUGIN.md']));
    expect(pages.flatMap(retiredIn)).toEqual([]);
  });

  it('are found as words, in names and as names', () => {
    const text =
      'a wish; FleetWish; isCondemned(); self.wishes; bringUp(); `giveUp` wishful bringUpkeep; Initialised capitals';
    expect(retiredWords(text)).toEqual(['wish', 'Wish', 'Condemn', 'wishes', 'Initialised', 'bringUp', 'giveUp']);
  });
});
