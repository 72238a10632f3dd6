"""Cases C, second part: what is shared with processes or sent to them, where they start, and what they import."""

from procession.doctor.catalogue.case import Case

PROCESSES: tuple[Case, ...] = (
    Case(
        number="C10",
        name="mixed-context-semaphores",
        reported=1,
        symptom="`FileNotFoundError: [Errno 2] No such file or directory` out of `SemLock._rebuild` in a worker; or "
        "`RuntimeError: A SemLock created in a fork context is being shared with a process in a spawn context`.",
        cause="A spawned process opens a lock's semaphore by its name. That of another context has none, and one whose "
        "last owner has dropped it, as where it was only an argument of the process, is gone.",
        answers=("PREVENT", "DIAGNOSE"),
        here="The library uses no semaphores. Locks, values, events, queues and pools of multiprocessing in a source "
        "are a CaptureError with the attribute and what takes its place. Which context they are of makes no "
        "difference, so it is not told.",
        fix="self.lock = procession.Lock()  # instead of multiprocessing.Lock()\n"
        'self.seen = procession.SharedCounter()  # instead of multiprocessing.Value("i")\n'
        "# without Procession: make both from one context, and keep a reference while workers start\n"
        'context = multiprocessing.get_context("spawn")\nlock = context.Lock()\n'
        "context.Process(target=work, args=(lock,)).start()",
        tests=(
            "tests/catalogue/test_pickles.py::test_locks_of_another_start_method",
            "tests/capture/test_handles.py::test_what_multiprocessing_shares_by_inheritance_is_named",
        ),
        signs=(
            r"SemLock\._rebuild\(\*state\)[^\0]{0,200}FileNotFoundError: \[Errno 2\]",
            r"A SemLock created in a \w+ context is being shared",
            r"\w+ objects should only be shared between processes through inheritance",
            r" is a multiprocessing\.[\w.]+, which cannot be sent to the worker processes",
        ),
        codes=("PRC106", "PRC101"),
        sources=("mlcommons/storage#447", "pytorch/pytorch#105514", "gramineproject/examples#33"),
    ),
    Case(
        number="C11",
        name="pickle-4gib",
        reported=3,
        symptom="`OverflowError: cannot serialize a bytes object larger than 4 GiB`, now `serializing a bytes object "
        "larger than 4 GiB requires pickle protocol 4 or higher`, when workers start. Windows and macOS, Python before "
        "3.8.",
        cause="Data in memory are pickled into each spawned worker, by a protocol that has 32 bits for a length. Later "
        "protocols have more, and then every worker gets a copy of it all (E3).",
        answers=("PREVENT",),
        here="Protocol 5: arrays from 64 KiB on are no part of the stream. They lie once in shared memory, which all "
        "workers read; a numpy.memmap is mapped from its file, and what `share()` has made is not copied at all.",
        fix="self.x = procession.share(self.x)  # no second copy of it in memory\n"
        '# with or without Procession: self.x = numpy.load("x.npy", mmap_mode="r"), opened in the worker',
        tests=(
            "tests/catalogue/test_pickles.py::test_more_than_4_gib",
            "tests/test_processes.py::test_workers_share_a_large_array",
            "tests/capture/test_pickling.py::test_buffers_travel_out_of_band_from_a_size_on",
        ),
        signs=(r"(cannot serialize|serializing) a (bytes|string|bytearray) object larger than 4 ?GiB",),
        sources=("tensorflow/tensorflow#39257", "facebookresearch/fairseq#2166", "keras-team/autokeras#345"),
        untested="An array of more than 4 GiB in memory: a file of that size without content stands for it.",
    ),
    Case(
        number="C12",
        name="dataset-pickled-every-epoch",
        reported=2,
        symptom="No error: a long pause before the first batch of every epoch, which grows with the data set and the "
        "number of workers (some tenths of a second for 100,000 file names, 20 s for a million and more).",
        cause="The data set is pickled again for each worker and each epoch; lists of many small objects are the "
        "slowest to pickle.",
        answers=("PREVENT",),
        here="The source is pickled once for all workers, which stay for the life of the loader; from then on only "
        "what has changed is sent. `share(list)` of strings makes two arrays of them, which are not pickled at all; "
        "the doctor names long lists of objects.",
        fix="self.paths = procession.share(paths)  # for millions of file names\n"
        "# without Procession: numpy.array(paths) instead of a list, and workers that persist",
        tests=(
            "tests/catalogue/test_pickles.py::test_the_source_is_pickled_once",
            "tests/capture/test_state.py::test_only_what_changed_is_sent",
            "tests/test_processes.py::test_workers_persist_over_epochs",
        ),
        signs=(
            r"(?i)\b(pickl|seriali[sz])(ed|es|ing)\b[^.\n]{0,60}\b(every|each|per)( new)? epoch",
            r"(?i)\b(every|each|per) epoch\b[^.\n]{0,60}\b(pickl|seriali[sz])(ed|es|ing)\b",
            r"(?i)pause before the first batch of (every|each) epoch",
        ),
        codes=("PRC104",),
        sources=("keras-team/keras#8039", "facebookresearch/spdl#1594", "keras-team/keras#7274"),
    ),
    Case(
        number="C13",
        name="broken-pipe-at-start",
        reported=3,
        symptom="`BrokenPipeError: [Errno 32] Broken pipe` in `ForkingPickler(file, protocol).dump(obj)` or in "
        "popen_forkserver.py while a worker starts, and `EOFError: Ran out of input` in the worker. With spawn, "
        "Python 3.11 on Linux hangs instead.",
        cause="The worker died before it had read what it was sent: an import failed, a guard is missing (C1), memory "
        "ran out. The real error is further up, on the worker's standard error.",
        answers=("DIAGNOSE",),
        here="An import or an unpickling that fails in the workers is raised in the training process, as itself, with "
        "the worker's traceback and a note; a death is a TemplateDiedError with the signal. No pipe breaks.",
        fix="procession doctor train.py:source  # rebuilds the source as a worker does, and says what fails\n"
        "# without Procession: look for the first traceback of the output; try the import alone\n"
        'python -c "import my_dataset"',
        tests=(
            "tests/catalogue/test_pickles.py::test_a_worker_that_cannot_begin",
            "tests/capture/test_pickling.py::test_a_source_that_breaks_when_unpickled_is_a_prompt_error",
            "tests/capture/test_pickling.py::test_a_module_that_is_missing_in_the_workers_is_named",
        ),
        signs=(
            r"ForkingPickler\(file, protocol\)\.dump\(obj\)\s+([~^]+\s+)?BrokenPipeError",
            r"BrokenPipeError: \[Errno 32\] Broken pipe[^\0]{0,60}ForkingPickler",
            r"popen_(forkserver|spawn_\w+)\.py[^\0]{0,200}BrokenPipeError",
            r"reduction\.pickle\.load\(from_parent\)\s+([~^]+\s+)?EOFError: Ran out of input",
        ),
        codes=("PRC102", "PRC704"),
        sources=("pytorch/pytorch#2341", "pytorch/pytorch#31465", "pytorch/tutorials#457"),
        untested="Windows: forkserver on Linux gives the same error for the same reason.",
    ),
    Case(
        number="C14",
        name="spawn-worker-footprint",
        reported=3,
        symptom="`OSError: [WinError 1455] The paging file is too small for this operation to complete. Error loading "
        '"…caffe2_detectron_ops_gpu.dll"` on Windows; elsewhere workers that take seconds and hundreds of MB each to '
        "start.",
        cause="Each spawned worker imports the script, and with it the framework and its GPU libraries.",
        answers=("PREVENT",),
        here="The process that workers are forked from imports what the source names, once; the workers share its "
        "memory. What the script imports for itself, they do not see. The doctor names frameworks that the source's "
        "module imports in vain (PRC405), and tells what a worker has of its own (PRC503).",
        fix="loader = procession.Loader(source, workers=8)\n"
        "# and everywhere: import what only training needs (TensorFlow, torch) in another module than the dataset's",
        tests=(
            "tests/catalogue/test_starting.py::test_workers_import_what_the_source_uses_and_once_for_all",
            "tests/engine/test_preload.py::test_a_template_has_what_the_script_imports",
        ),
        signs=(r"WinError 1455", r"(?i)paging file is too small"),
        codes=("PRC405", "PRC503"),
        sources=("pytorch/pytorch#59904", "ultralytics/yolov3#1643", "thu-ml/tianshou#297"),
        untested="Windows, where this library does not run; WSL 2 is Linux.",
    ),
    Case(
        number="C15",
        name="fork-in-threaded-process-warning",
        reported=3,
        symptom="`DeprecationWarning: This process (pid=…) is multi-threaded, use of fork() may lead to deadlocks in "
        "the child.` Python 3.12 and newer.",
        cause="A fork copies one thread; what the others had locked stays locked in the child. Keras forks its pool "
        "from a thread, so there are always others. The warning is right: see B1, B2 and B7.",
        answers=("PREVENT",),
        here="The training process is never forked, so nothing warns. Workers are forked from a process that has one "
        "thread, which is looked at before: if loading the source starts one there, each worker loads it by itself.",
        fix="loader = procession.Loader(source, workers=4)\n"
        "# without Procession: start the pool before TensorFlow and the like are imported, or in a clean process\n"
        'multiprocessing.get_context("forkserver").Pool(4)',
        tests=(
            "tests/catalogue/test_starting.py::test_the_training_process_is_never_forked",
            "tests/test_processes.py::test_a_source_that_starts_threads_when_unpickled",
        ),
        signs=(r"is multi-threaded, use of (fork|forkpty)\(\) may lead to deadlocks",),
        codes=("PRC416",),
        sources=("pytorch/pytorch#138957", "joblib/joblib#1650", "python/cpython#109767"),
    ),
    Case(
        number="C16",
        name="macos-objc-fork-crash",
        reported=3,
        symptom="`objc[…]: +[__NSCFConstantString initialize] may have been in progress in another thread when fork() "
        "was called. We cannot safely call it or ignore it in the fork() child process. Crashing instead.` macOS.",
        cause="Apple's frameworks end a child that was forked after they had been used. The variable "
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY, the usual advice, takes away the check and not the danger.",
        answers=("PREVENT",),
        here="The training process is never forked. The library needs Linux for its memory: on macOS it runs in a "
        "container or a virtual machine, where there are no such frameworks.",
        fix='docker run -v "$PWD:/work" -w /work python:3.12 python train.py  # with Procession installed in it\n'
        '# without Procession: multiprocessing.set_start_method("spawn"), the default on macOS',
        tests=("tests/catalogue/test_starting.py::test_the_training_process_is_never_forked",),
        signs=(
            r"objc\[[^\]]*\][^\n]*may have been in progress in another thread when fork\(\)",
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY",
        ),
        codes=("PRC416",),
        sources=("hypothesis/h#5895", "sparkmicro/Ki-nTree#160", "lithops-cloud/lithops#533"),
        untested="macOS. What is tested is that the training process is not forked.",
    ),
    Case(
        number="C17",
        name="daemonic-no-children",
        reported=3,
        symptom="`AssertionError: daemonic processes are not allowed to have children`, where a loader runs inside a "
        "Pool, Celery, Airflow or Dask, or a source starts a pool inside a worker.",
        cause="Workers of a multiprocessing.Pool are daemonic, and multiprocessing lets these start no others.",
        answers=("PREVENT",),
        here="Workers are no processes of multiprocessing: a Loader works in a daemonic process as anywhere. Nor are "
        "they daemonic, so a source may use multiprocessing; what it starts ends with its worker.",
        fix="loader = procession.Loader(source, workers=2)  # made in the daemonic process, not before it was forked\n"
        "# without Procession: concurrent.futures.ProcessPoolExecutor outside, whose workers are not daemonic",
        tests=(
            "tests/catalogue/test_starting.py::test_a_loader_in_a_daemonic_process",
            "tests/test_processes.py::test_a_worker_may_use_multiprocessing",
            "tests/test_processes.py::test_what_a_worker_started_ends_with_it",
        ),
        signs=("daemonic processes are not allowed to have children",),
        codes=("PRC404",),
        sources=("pytorch/pytorch#15950", "ThilinaRajapakse/simpletransformers#1247", "dask/distributed#5058"),
    ),
    Case(
        number="C18",
        name="backend-import-in-worker-side-effects",
        reported=0,
        symptom="Workers abort, hang or leak: a package takes a device, a port or a lock when it is imported, or "
        "initialises MPI.",
        cause="The module of the dataset imports the model's packages, and each spawned worker imports them again.",
        answers=("DIAGNOSE",),
        here="Such a module is imported once, in the process that workers are forked from, which sees no GPU; if that "
        "starts threads or opens files, each worker imports it for itself. The doctor names frameworks that are "
        "imported in vain, and threads and files; not who imports them, nor for how long (`python -X "
        "importtime`).",
        fix="procession doctor train.py:source  # PRC405: frameworks, PRC403: threads and files\n"
        "# put the dataset into a module that imports numpy and what decodes, and no more; or import on first use:\n"
        "def __getitem__(self, i):\n    import decoder",
        tests=(
            "tests/catalogue/test_starting.py::test_workers_import_what_the_source_uses_and_once_for_all",
            "tests/engine/test_preload.py::test_a_template_in_which_an_import_has_started_threads_is_not_used",
        ),
        signs=(
            r"(?i)\b(worker|dataset)\w*\b[^.\n]{0,40}\b(grab|open|take|lock)s?\b[^.\n]{0,40}\b(when|at)\b[^.\n]{0,40}\bimport",
        ),
        codes=("PRC405", "PRC403"),
        sources=("mlcommons/storage#415", "aqlaboratory/openfold-3#268"),
    ),
)
