"""Cases E1 to E9: memory that grows, is copied, or runs out; and what else of the machine does."""

from procession.doctor.catalogue.case import Case

MEMORY: tuple[Case, ...] = (
    Case(
        number="E1",
        name="keras-mp-memory-growth",
        reported=3,
        symptom="With `use_multiprocessing=True` the memory of the training grows with every epoch until the kernel "
        "writes `Killed`; with `use_multiprocessing=False` it stays flat. Mostly seen with `fit_generator`.",
        cause="Several: Keras's adapter begins its iterator anew for each epoch, the queue of finished batches is "
        "filled faster than it is emptied, and what is in it waits for the garbage collector.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Batches lie in slots, as many as are prefetched (`prefetch=`) and held by you, which are used again over "
        "all epochs; workers stay. If the source itself grows, Faults(max_memory=) replaces its worker, and "
        "`procession doctor` reports the growth for each item.",
        fix="faults = procession.Faults(max_memory=2 << 30)  # a worker with more than 2 GB of its own is replaced\n"
        "model.fit(procession.Loader(train_sequence, workers=4, faults=faults), epochs=20)\n"
        "# without Procession: max_queue_size=2, fewer workers, gc.collect() in on_epoch_end",
        tests=("tests/catalogue/test_memory.py::test_memory_stays_flat_over_epochs",),
        signs=(
            r"(?i)\b(memory|RAM|RSS)\b.{0,60}\b(grow|climb|increas|ris|go(es)? up)\w*\b.{0,40}\b(each|every|per) epoch",
            r"(?i)\b(memory|RAM)( usage)? (keeps|is) (grow|increas|ris|climb|going up)\w*.{0,60}\b(train|epoch|fit)",
            "(?i)memory leak.{0,60}(fit_generator|use_multiprocessing)",
            "(?i)(fit_generator|use_multiprocessing=True).{0,80}(memory leak|out of memory|OOM)",
        ),
        codes=("PRC501",),
        sources=("tensorflow/tensorflow#30801", "tensorflow/tensorflow#37026", "keras-team/keras#13261"),
        untested="The growth of stock Keras: the reports are of Keras 2, and do not settle its cause. What is tested "
        "is that memory is bounded here.",
    ),
    Case(
        number="E2",
        name="copy-on-write-refcounts",
        reported=3,
        symptom="The source holds many small Python objects (a list of a million file names, dicts of annotations). "
        "During the epoch the memory of forked workers climbs, as if every worker had its own copy, though nothing is "
        "written.",
        cause="To read a Python object is to write its reference count: the page that it lies on, shared since the "
        "fork, is copied for the worker (copy-on-write).",
        answers=("PREVENT", "DIAGNOSE"),
        here="`procession.share(names)` packs a list of strings in two arrays that all workers read: 2 million names "
        "in 4 workers take 3 MB beyond one copy. It is not done unasked, since what comes back is a sequence and no "
        "list: a list that is left as it is still grows as described (362 MB), and `procession doctor` says so.",
        fix="self.names = procession.share(list_of_file_names)  # in __init__; self.names[i] is a str as before\n"
        "self.boxes = procession.share(numpy.asarray(boxes))  # numbers: an array instead of lists of lists\n"
        '# without Procession: numpy.array(list_of_file_names, dtype="S") has no reference counts either',
        tests=(
            "tests/catalogue/test_memory.py::test_reading_python_objects_copies_their_pages_but_not_shared_strings",
        ),
        signs=(
            "(?i)copy[- ]on[- ](write|read|access)",
            "(?i)as if (each|every|all)( of the)? workers? had (its|their) own copy",
            r"(?i)\b(refcount|reference count)s?\b.{0,100}\b(memory|fork|pages?|workers?)\b",
        ),
        codes=("PRC502", "PRC104"),
        sources=("pytorch/pytorch#13246", "pytorch/pytorch#20433", "pytorch/pytorch#5902"),
    ),
    Case(
        number="E3",
        name="per-worker-dataset-copies",
        reported=2,
        symptom="Memory is the size of the dataset times the number of workers: 8 GB of arrays and 10 workers run out "
        "of memory before the first batch.",
        cause="With spawn and forkserver the whole dataset is pickled into each worker.",
        answers=("PREVENT",),
        here="The source is sent once. Arrays from 64 KiB on are put in shared memory once and are the same, "
        "read-only, memory in all workers: one copy beside yours, and none beside yours with `procession.share`. "
        "Memory maps are mapped again from their file.",
        fix="self.images = procession.share(images)  # moved to shared memory once; ordinary arrays come back\n"
        '# or from a file, which the system reads as needed: self.images = numpy.load("images.npy", mmap_mode="r")',
        tests=(
            "tests/catalogue/test_memory.py::test_spawned_workers_copy_the_dataset_and_ours_do_not",
            "tests/test_processes.py::test_workers_share_a_large_array",
        ),
        signs=(
            r"(?i)\b(each|every) (worker|process)\b.{0,40}\bcop(y|ies) of the (whole |full )?(data|array)",
            r"(?i)\b(data ?set|memory|RAM)\b.{0,40}(times|multiplied by|x) (the )?(number of )?workers",
        ),
        codes=("PRC503", "PRC413"),
        sources=("pytorch/pytorch#2052", "pytorch/pytorch#63301", "fizyr/keras-retinanet#1081"),
    ),
    Case(
        number="E4",
        name="shm-bus-error",
        reported=3,
        symptom="`RuntimeError: DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory.`, `unable to allocate shared memory(shm) for file </torch_…>: "
        "No space left on device (28)`; without torch just `Bus error`, exit code -7 or 135. Mostly in Docker and "
        "Kubernetes.",
        cause="/dev/shm is a file system of limited size, 64 MB in a container unless told otherwise. A block that is "
        "larger than what is left can be made; writing to it is what fails, with SIGBUS.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Batches and shared arrays lie in anonymous memory (memfd_create), which has no file system and no size "
        "but that of the machine's or container's memory. /dev/shm may be full, read-only or missing; `procession "
        "doctor` tells its size, for the sake of other libraries.",
        fix="docker run --shm-size=8g ...  # for torch and others that use /dev/shm; Procession needs none\n"
        "# Kubernetes: an emptyDir volume with medium: Memory, mounted at /dev/shm",
        tests=(
            "tests/catalogue/test_limits.py::test_a_small_dev_shm",
            "tests/test_limits.py::test_dev_shm_is_not_used",
        ),
        signs=(
            "is killed by signal: Bus error",
            "(workers are out of|insufficient) shared memory",
            r"unable to (allocate|write to|mmap|resize|open)[^\n]{0,40}(shared memory|file <)[^\n]*(/torch_|\(shm\))",
            r"(?m)\bBus error\b",
        ),
        codes=("PRC412",),
        sources=("pytorch/pytorch#5040", "pytorch/pytorch#16979", "hkchengrex/STCN#132"),
        untested="A container: a /dev/shm of 1 MB in a mount namespace stands for it.",
    ),
    Case(
        number="E5",
        name="semaphore-enospc",
        reported=3,
        symptom="`OSError: [Errno 28] No space left on device` while the disk has space; the traceback ends in "
        "`_multiprocessing.SemLock`. joblib says that it `will operate in serial mode`.",
        cause="The semaphores of multiprocessing (in every Lock, Queue, Event and Pool) are files in /dev/shm, which "
        "is full or very small.",
        answers=("PREVENT", "DIAGNOSE"),
        here="No semaphore is used: workers talk through sockets, and `procession.Lock()` lies in anonymous memory. "
        "`procession doctor` tells the size of /dev/shm where it is small.",
        fix="df -h /dev/shm; ls -la /dev/shm  # who fills it? what dead programs have left there can be removed\n"
        "self.lock = procession.Lock()  # instead of multiprocessing.Lock()\n"
        "# without Procession: docker run --shm-size=1g",
        tests=(
            "tests/catalogue/test_limits.py::test_a_small_dev_shm",
            "tests/test_limits.py::test_dev_shm_is_not_used",
        ),
        signs=(
            r"SemLock[^\0]{0,400}\[Errno 28\] No space left on device",
            r"\[Errno 28\] No space left on device[^\0]{0,160}SemLock",
            "joblib will operate in serial mode",
        ),
        codes=("PRC412", "PRC106"),
        sources=("python/cpython#93253", "NVIDIA/Megatron-LM#878", "celery/billiard#293"),
    ),
    Case(
        number="E6",
        name="fd-exhaustion-ancdata",
        reported=3,
        symptom="`RuntimeError: received 0 items of ancdata`, `OSError: [Errno 24] Too many open files` or "
        "`RuntimeError: Too many open files. Communication with the workers is no longer possible.`, often after "
        "batches were collected in a list.",
        cause="One descriptor for each tensor in transit stays open as long as the batch is kept. At the limit "
        "(`ulimit -n`, 1,024 by default) the kernel drops descriptors from messages.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Three descriptors for each worker and about ten besides, however many batches are kept. Where even these "
        "are not to be had, a LimitError names the limit, how many are open, and what a loader needs.",
        fix="ulimit -n 65536  # in the shell, where the source itself holds many files\n"
        "# without Procession: torch.multiprocessing.set_sharing_strategy('file_system'), or keep copies of batches",
        tests=(
            "tests/catalogue/test_limits.py::test_batches_that_are_kept_while_descriptors_are_few",
            "tests/test_limits.py::test_it_says_what_is_too_little",
        ),
        signs=(
            r"received \d+ items of ancdata",
            r"Too many open files\. Communication with the workers is no longer possible",
            r"OSError: \[Errno 24\] Too many open files",
            r"(?i)\btoo many open files\b",
            r"\(RLIMIT_NOFILE\)",
        ),
        codes=("PRC411", "PRC410"),
        sources=("pytorch/pytorch#973", "pytorch/pytorch#11201", "pytorch/pytorch#41465"),
    ),
    Case(
        number="E7",
        name="fork-enomem",
        reported=3,
        symptom="`OSError: [Errno 12] Cannot allocate memory` at `self.pid = os.fork()`, often when the first "
        "validation starts its workers.",
        cause="A fork promises the child all memory that the training process has by then, many gigabytes; the kernel "
        "refuses what it could not keep, all the sooner while earlier workers hold theirs.",
        answers=("PREVENT",),
        here="The training process is never forked. A small template process is started beside it, and workers are "
        "forked from that: what the training has allocated does not count. Where memory is too short even for this, "
        "the LimitError names the limits and their values.",
        fix="model.fit(procession.Loader(train, workers=4), validation_data=procession.Loader(valid, workers=2))\n"
        "# without Procession: sysctl vm.overcommit_memory=1, or make the workers before the model",
        tests=("tests/catalogue/test_memory.py::test_a_fork_without_memory_and_workers_that_know_nothing_of_ours",),
        signs=(
            r"os\.fork\(\)[^\0]{0,200}\[Errno 12\] Cannot allocate memory",
            r"\[Errno 12\] Cannot allocate memory[^\0]{0,60}os\.fork\(\)",
            r"OSError: \[Errno 12\] Cannot allocate memory",
        ),
        codes=("PRC410", "PRC413"),
        sources=("ClementPinard/FlowNetPytorch#85", "facebookresearch/maskrcnn-benchmark#599", "naszilla/tabzilla#40"),
        untested="A fork that is refused for the size of the training process depends on the machine's overcommit "
        "setting, which a test must not change: the error is provoked in another way, in a process namespace that "
        "takes no more processes.",
    ),
    Case(
        number="E8",
        name="oom-killed-worker-unclear",
        reported=3,
        symptom="`RuntimeError: DataLoader worker (pid 1817) is killed by signal: Killed.`, `TerminatedWorkerError: A "
        "worker process managed by the executor was unexpectedly terminated`, with `{SIGKILL(-9)}`; `slurmstepd: "
        "Detected 1 oom_kill event`. Nothing says which limit it was.",
        cause="The kernel, a container or the batch system ended a worker because memory ran out. The parent is told "
        "no more than signal 9.",
        answers=("RECOVER", "DIAGNOSE"),
        here="The worker is replaced and its batch is made again. An item that is killed more often than "
        "Faults(retries=) allows is a WorkerDiedError, which names the item, the worker's memory, the memory limit of "
        "its cgroup with what is used of it, how many of its processes the kernel has killed for memory, and what the "
        "machine has left. Batches in flight do not become fewer by themselves.",
        fix="loader = procession.Loader(source, workers=2, prefetch=2)  # fewer workers, fewer batches at once\n"
        "faults = procession.Faults(max_memory=4 << 30)  # replaced before the kernel does it\n"
        "# dmesg | tail; cat /sys/fs/cgroup/memory.events  # in a container: which limit it was",
        tests=(
            "tests/catalogue/test_memory.py::test_a_worker_killed_for_memory",
            "tests/test_limits.py::test_a_worker_that_runs_out_of_memory_is_explained",
        ),
        signs=(
            r"DataLoader worker \(pid[^)]*\) is killed by signal: Killed",
            "TerminatedWorkerError|worker process managed by the executor was unexpectedly terminated",
            r"SIGKILL\(-9\)",
            r"(?i)\boom[-_ ]kill(ed|er)?\b|Out of memory: Killed process|Detected \d+ oom[-_]kill",
            "killed by SIGKILL by OOM killer due to high memory usage",
        ),
        codes=("PRC413", "PRC701"),
        sources=("pytorch/pytorch#8976", "joblib/joblib#812", "joblib/loky#373", "ray-project/ray#45244"),
        untested="The kernel's own killing, which a test must not provoke on a machine that others use: kill -9 and a "
        "limit on addresses stand for it.",
    ),
    Case(
        number="E9",
        name="resource-tracker-destroys-shm",
        reported=2,
        symptom="`UserWarning: resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at "
        "shutdown`, and then `FileNotFoundError: [Errno 2] No such file or directory: '/psm_1a2b3c4d'` in the program "
        "that owns the block.",
        cause="Before Python 3.13 (`track=False`) who only opens a SharedMemory block registers it as its own; when "
        "such a reader ends, its resource tracker removes the block from under all others.",
        answers=("PREVENT",),
        here="Shared memory has no name, so that nobody can remove it: processes get it as a descriptor, and it lives "
        "as long as one of them has it. There is no resource tracker.",
        fix="images = procession.share(images)  # instead of SharedMemory(create=True)\n"
        "# without Procession: SharedMemory(name=name, track=False) in readers, from Python 3.13 on",
        tests=(
            "tests/catalogue/test_limits.py::test_a_reader_that_ends_destroys_named_memory",
            "tests/catalogue/test_limits.py::test_a_reader_that_ends",
        ),
        signs=(
            "leaked shared_memory objects to clean up at shutdown",
            r"resource_tracker: '?/?\w+'?: \[Errno 2\] No such file or directory",
            r"FileNotFoundError: \[Errno 2\] No such file or directory: '/?(psm|wnsm)_\w+'",
            r"KeyError: '/(psm|wnsm)_\w+'",
        ),
        sources=("python/cpython#82300", "python/cpython#84140", "mosaicml/streaming#331"),
    ),
)
