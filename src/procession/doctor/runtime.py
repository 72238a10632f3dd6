"""The codes of what is raised and warned of while training runs, and of what keeps the doctor from looking."""

from __future__ import annotations

from procession.doctor.findings import Code, Finding
from procession.errors import ProcessionError

REBUILT = Code(
    "PRC102",
    "The source cannot be rebuilt in the workers",
    "error",
    why="A worker gets the source as pickle made it, in a process that has imported the same modules by name; what its "
    "`__setstate__`, or an import, raises there ends all workers before the first batch.",
    fix="""\
# Workers import what the source's class is from: that has to work there,
# from the same folder, with the same sys.path.
if __name__ == "__main__":      # what is only for the training process
    main()

def __setstate__(self, state):  # and what is left out when it travels has to be made, or asked for, here
    vars(self).update(state)
    self.file = None""",
    how="The source is sent to a worker, as for training.",
)
DIED = Code(
    "PRC701",
    "The process that makes an item is killed, or crashes",
    "error",
    why="Procession replaces a worker that dies and makes its batch again, in the same place; an item that kills every "
    "worker ends training with a WorkerDiedError that names it. In other loaders training hangs, or is lost.",
    fix="""\
# SIGSEGV, SIGBUS, SIGABRT: a library crashed over this item; the stack says in which call. Look at the item's file.
# SIGKILL: mostly the kernel, for want of memory: fewer workers, smaller batches, or a limit for each of them:
loader = procession.Loader(source, workers=2, faults=procession.Faults(max_memory=2 << 30))
# To train without the items that kill:
loader = procession.Loader(source, faults=procession.Faults(on_error="skip", retries=1))""",
    how="Some items are each asked for in a process of their own.",
)
STALLED = Code(
    "PRC702",
    "An item is not made in time",
    "error",
    why="Whoever needs this batch waits for it. By default the wait is announced after 30 s, with the worker's stack; "
    "with a `timeout` the worker is ended, the batch made again, and then told as a StalledError.",
    fix="""\
# A file system that does not answer, a lock that nobody releases, a loop without an end: the stack says which.
loader = procession.Loader(source, faults=procession.Faults(timeout=60, retries=1, on_error="skip"))""",
    how="Some items are each asked for in a process of their own, with a time limit (`--limit`).",
)
SOURCE = Code(
    "PRC105",
    "What is given as a source cannot be indexed",
    "error",
    why="Workers are told which batch to make, by its number. A generator or iterator has none: each worker would have "
    "a copy of it, and deliver all of it again.",
    fix="""\
class Batches(keras.utils.PyDataset):       # (1) give it an index
    def __len__(self):
        return math.ceil(len(self.files) / 32)

    def __getitem__(self, i):
        return load(self.files[32 * i : 32 * (i + 1)])

procession.Loader(list(generator()))        # (2) or read it first, if it fits into memory""",
    how="The source is looked at, not iterated.",
)
LENGTH = Code(
    "PRC313",
    "The length of the source cannot be used",
    "error",
    why="An epoch is `len(source)` batches: where that is 0, a float, or not there at all, nothing can be laid out.",
    fix="""\
def __len__(self):
    return math.ceil(len(self.files) / self.batch_size)   # not `/`, and not `//` where the last batch counts

num_batches = None       # an endless PyDataset says so; fit then needs steps_per_epoch""",
    how="`len()` is called in the training process.",
)
BATCH = Code(
    "PRC302",
    "An item is None, or cannot be delivered",
    "error",
    why="Every index stands for a batch that `fit` waits for. None is none: Keras's own workers leave it out and then "
    "wait for ever. Samples of different shapes cannot be stacked, and what cannot be pickled cannot be sent.",
    fix="""\
def __getitem__(self, i):
    batch = self.load(i)
    if batch is None:
        raise ValueError(f"nothing in {self.files[i]}")   # and Faults(on_error="skip") leaves it out, counted
    return batch""",
    how="Some items are made, and looked at as they would be for training.",
)
LIMIT = Code(
    "PRC410",
    "A limit of the machine is in the way",
    "error",
    why="Workers need processes, descriptors and memory; where the system refuses them none can be started.",
    fix="""\
ulimit -n 65536              # descriptors
ulimit -u 4096               # processes and threads
docker run --pids-limit 4096 --memory 16g ...
# or fewer workers: procession.Loader(source, workers=2)""",
    how="Told by the system when a worker was to be started.",
)
BROKEN = Code(
    "PRC720",
    "A check could not be made",
    "warning",
    why="What it looks for may be there, and is not told.",
    fix="# Please report it, with the source's class and this text.",
    how="Each check is guarded from the others.",
)
LOST = Code(
    "PRC721",
    "An observation could not be made to its end",
    "warning",
    why="Items can be made one by one, and something else fails when several are made in one process: what a check "
    "looks for there may be there, and is not told.",
    fix="""\
# The items of this source, one after the other, as a worker makes them:
for i in range(len(source)):
    source[i]
# and more time for it: procession doctor ... --limit 120""",
    how="Observations are made in processes of their own, with a time limit.",
)
UNREAD = Code(
    "PRC723",
    "The code of the source cannot be read",
    "note",
    why="Some checks read the code of `__getitem__`, to say in which line something is; without it they say what they "
    "saw happen.",
    fix="# Keep the class in a file: what is typed at a prompt, or made with exec(), has no text to read.",
    how="`inspect` is asked for it.",
)
UNLOADED = Code(
    "PRC722",
    "The target cannot be loaded",
    "error",
    why="The doctor imports the file or module, as workers do, before it can look at anything.",
    fix="""\
def source():                       # a function that returns the source: procession doctor train.py:source
    return Photos("photos", batch_size=32)

if __name__ == "__main__":          # and what trains is only run, not imported
    model.fit(source(), epochs=10)""",
    how="TARGET is imported in a process of its own, with a time limit.",
)

RESTARTS = Code(
    "PRC703",
    "More workers died than may be replaced",
    "error",
    why="A worker that dies is replaced up to `Faults.max_restarts` times in an epoch; past that something is wrong "
    "which replacing does not mend.",
    fix="""\
# The message says what the last one died of. If deaths are to be expected on this machine:
loader = procession.Loader(source, faults=procession.Faults(max_restarts=100))""",
    how="Raised while training runs.",
)
TEMPLATE = Code(
    "PRC704",
    "The process that workers are forked from ended",
    "error",
    why="It imports and unpickles the source once. Its end is survived while training runs; where it ends each time it "
    "is started, the import or the unpickling kills it.",
    fix="""\
# Load the source as it does, in a shell, and see how it ends:
#   python -X faulthandler -c "import train; train.source()" """.rstrip(),
    how="Raised while training runs, and by the doctor.",
)
EXIT = Code(
    "PRC705",
    "The source ends the process that it runs in",
    "error",
    why="`sys.exit()`, `exit()` or `quit()` in `__getitem__` would end a worker in silence, or training itself.",
    fix="""\
def __getitem__(self, i):
    if not self.files[i].exists():
        raise FileNotFoundError(self.files[i])      # instead of sys.exit("no such file")
    ...""",
    how="Raised in place of SystemExit.",
)
ABANDONED = Code(
    "PRC706",
    "An epoch was read on after the next one had begun",
    "error",
    why="A loader reads one epoch at a time: its workers, slots and hooks are those of the epoch begun last.",
    fix="""\
training, validation = procession.Loader(source), procession.Loader(source)     # two at once are two loaders""",
    how="Raised while training runs.",
)
CLOSED = Code(
    "PRC707",
    "A loader was used after it was closed",
    "error",
    why="`close()`, and the end of a `with` block, end the workers for good.",
    fix="""\
with procession.Loader(source) as loader:
    model.fit(loader, epochs=10)        # inside of the block""",
    how="Raised while training runs.",
)
STATE = Code(
    "PRC708",
    "A saved state does not fit",
    "error",
    why="`load_state_dict` goes on in the middle of an epoch: that is only the same epoch if seed, length, batch size, "
    "order and shard are the same.",
    fix="""\
loader = procession.Loader(source, seed=7, batch_size=32, shuffle=True)     # as when the state was saved
loader.load_state_dict(state, strict=False)     # or go on as far into the epoch, whatever differs""",
    how="Raised by `load_state_dict`, or when the epoch begins.",
)
STATE_DIFFERS = Code(
    "PRC709",
    "A loader goes on from a state that differs",
    "warning",
    why="With `strict=False` the epoch is continued at the same place, though it is not the same epoch.",
    fix="# Nothing, if that is what was meant. Otherwise make the loader as it was when the state was saved.",
    how="Warned of when the epoch begins.",
)
IGNORED = Code(
    "PRC710",
    "Something that was asked for has no effect here",
    "warning",
    why="It is accepted so that scripts run as they are, and means something in Keras's own workers only.",
    fix="# Remove the argument; the warning says what takes its place.",
    how="Warned of while training runs.",
)
SKIPPED = Code(
    "PRC711",
    "Items were left out of an epoch",
    "warning",
    why='With `Faults(on_error="skip")` an item that fails is left out and counted: training sees less data.',
    fix="""\
for skip in loader.statistics().skipped:
    print(skip.epoch, skip.index, skip.error)       # mend or remove these""",
    how="Warned of at the end of each epoch.",
)
CONFIG = Code(
    "PRC712",
    "A parameter of the loader cannot be used",
    "error",
    why="It is of the wrong type, out of range, or contradicts another one.",
    fix="""\
loader = procession.Loader(source, batch_size=32, workers=4, executor="processes", shuffle=True)
help(procession.Loader)""",
    how="Raised when the loader is made.",
)

CODES: tuple[Code, ...] = (
    *(REBUILT, SOURCE, BATCH, LENGTH, LIMIT, DIED, STALLED, RESTARTS, TEMPLATE, EXIT, ABANDONED, CLOSED),
    *(STATE, STATE_DIFFERS, IGNORED, SKIPPED, CONFIG, BROKEN, LOST, UNLOADED, UNREAD),
)


def finding_for(error: BaseException) -> Finding:
    """A finding for an exception that kept the doctor from looking on."""
    unpickled = any("unpickled" in note for note in getattr(error, "__notes__", ()))
    number = error.code if isinstance(error, ProcessionError) else (REBUILT if unpickled else BROKEN).number
    code = next((each for each in CODES if each.number == number), BROKEN)
    return code.found(f"{type(error).__name__}: {error}".removesuffix(f" [{number}]"))
