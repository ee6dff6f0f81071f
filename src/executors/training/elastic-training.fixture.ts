/**
 * Arguments: a directory, and a number of nodes. Saves a checkpoint at its start and when it is told to end; ends by
 * itself if it trains on so many nodes, or the directory has a file `end`. Writes `trains-<attempt>-<rank>` to the
 * directory when it has begun, and `told-<attempt>-<rank>` when it was told to end.
 */
export const ELASTIC_TRAINING = `
import os, signal, sys, time
rank, count = int(os.environ["NX_EC2_NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"])
saved = os.path.join(os.environ["NX_EC2_CHECKPOINT_DIR"], "step.txt")
step = int(open(saved).read()) if os.path.exists(saved) else 0
print("node %d of %d, attempt %s, from step %d" % (rank, count, os.environ["NX_EC2_ATTEMPT"], step), flush=True)
def save(*_):
    if rank == 0:
        with open(saved + ".part", "w") as file:
            file.write(str(step + 1))
        os.rename(saved + ".part", saved)
place = sys.argv[1]
def mark(what):
    open(os.path.join(place, "%s-%s-%d" % (what, os.environ["NX_EC2_ATTEMPT"], rank)), "w").close()
def end(*_):
    save()
    mark("told")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
save()
mark("trains")
while count < int(sys.argv[2]) and not os.path.exists(os.path.join(place, "end")):
    time.sleep(0.05)
os.makedirs("artifacts", exist_ok=True)
with open("artifacts/shard-%d" % rank, "w") as file:
    file.write("of %d" % count)
`;
