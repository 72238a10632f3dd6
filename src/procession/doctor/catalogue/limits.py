"""Cases E10 to E19: what processes share: its names, its end, its size; and the limits it meets."""

from procession.doctor.catalogue.case import Case

LIMITS: tuple[Case, ...] = (
    Case(
        number="E10",
        name="leaked-semaphore-warning",
        reported=3,
        symptom="`UserWarning: resource_tracker: There appear to be 6 leaked semaphore objects to clean up at "
        "shutdown` is the last that is printed, and taken for the error.",
        cause="It is a consequence: a process that had semaphores ended without cleaning up, since it was killed or "
        "crashed. What ended it stands above, or in the system's log.",
        answers=("PREVENT",),
        here="No semaphore is made, so there is no such line. If a worker dies, the last that is said is which one, of "
        "what signal, and over which item.",
        fix="dmesg | tail  # killed for memory? Then the answer is that of case E8\n"
        "python -X faulthandler train.py  # or a crash in native code: this shows where",
        tests=(
            "tests/catalogue/test_limits.py::test_an_abrupt_end",
            "tests/test_endings.py::test_the_training_process_is_killed",
        ),
        signs=(
            "leaked semaphore objects to clean up at shutdown",
            r"resource_tracker: '?/?mp-\w+'?: \[Errno 2\]",
        ),
        sources=("pytorch/pytorch#23117", "dask/distributed#1078", "khoj-ai/khoj#385"),
    ),
    Case(
        number="E11",
        name="shm-left-behind",
        reported=2,
        symptom="After a crash, Ctrl-C or `kill -9` /dev/shm stays full of the dead run's blocks, and the next run "
        "fails to make its own: `FileExistsError: [Errno 17] File exists: '/000010_locals'`.",
        cause="Blocks with a name outlive their maker where no clean-up code runs.",
        answers=("PREVENT",),
        here="Shared memory has no name: the kernel frees it with the last process that has it, and workers end with "
        "the training process, however that ends.",
        fix="ls -la /dev/shm; rm /dev/shm/000010_*  # what other programs have left; Procession leaves nothing",
        tests=(
            "tests/catalogue/test_limits.py::test_an_abrupt_end",
            "tests/test_endings.py::test_the_training_process_is_killed",
        ),
        signs=(
            r"FileExistsError: \[Errno 17\] File exists: '/[^/'\n]+'",
            r"(?i)/dev/shm\b.{0,60}\b(left|stays?|remain|still|never)\b.{0,40}(full|files|blocks|behind|freed)",
        ),
        sources=("mosaicml/streaming#781", "PaddlePaddle/Paddle#49632", "dmlc/dgl PR#2419"),
    ),
    Case(
        number="E12",
        name="shm-view-use-after-free",
        reported=2,
        symptom="`Segmentation fault` (exit code -11 or 139) when an array is touched whose SharedMemory block was "
        "closed; or `BufferError: cannot close exported pointers exist`, which may hide the error before it.",
        cause="`numpy.ndarray(buffer=shm.buf)` does not keep the block open, so that the memory goes while the array "
        "is there; `numpy.frombuffer(shm.buf)` does keep it, and then it cannot be closed.",
        answers=("PREVENT",),
        here="A batch is an ordinary array whose memory stays until the last array and view on it is dropped, whether "
        "the loader was closed or not, and is not lent again before; arrays of `procession.share` alike. There is "
        "nothing to close.",
        fix="images = procession.share(images)  # instead of SharedMemory: the memory goes with the last array on it\n"
        "# without Procession: array = numpy.ndarray(shape, dtype, buffer=shm.buf); use array.copy() after shm.close()",
        tests=(
            "tests/catalogue/test_memory.py::test_arrays_on_blocks_that_are_closed",
            "tests/engine/test_arena.py::test_what_is_held_outlives_the_arena",
            "tests/capture/test_shared.py::test_memory_goes_with_the_last_array",
        ),
        signs=(
            "BufferError: cannot close exported pointers exist",
            r"(?i)(segmentation fault|segfault|SIGSEGV)[^\0]{0,160}(SharedMemory|shm\.(buf|close)|shared memory)",
            r"(?i)(SharedMemory|shm\.(buf|close))[^\0]{0,160}(segmentation fault|segfault|SIGSEGV)",
        ),
        sources=("numpy/numpy#23305", "numpy/numpy#9537", "carson-katri/dream-textures PR#299"),
    ),
    Case(
        number="E13",
        name="read-only-array-surprise",
        reported=2,
        symptom="`ValueError: assignment destination is read-only`, `ValueError: output array is read-only` or "
        "`ValueError: buffer source array is read-only`, as soon as the arrays are larger than some size.",
        cause="Large inputs are shared with the workers read-only, and something writes to them: an augmentation in "
        "place, or a Cython function that asks for a writable buffer.",
        answers=("DIAGNOSE",),
        here="Arrays from 64 KiB on that the source holds are read-only in workers. The error is numpy's own, with a "
        "note that names the attribute of the source and the two ways out. Batches, once delivered, are writable and "
        "yours alone.",
        fix="batch = self.x[i : i + 32].copy()  # then batch *= 2 is your own\n"
        "self.seen = procession.share(numpy.zeros(n), writable=True)  # where all are meant to see what is written",
        tests=(
            "tests/catalogue/test_memory.py::test_writing_to_what_is_shared",
            "tests/test_streams.py::test_arrays_are_plain_writable_and_aligned",
            "tests/test_shared_state.py::test_writing_to_what_is_read_only_is_an_error",
        ),
        signs=(
            "ValueError: assignment destination is read-only",
            "ValueError: (output|buffer source|input) array is read-only",
            "cannot set WRITEABLE flag to True of this array",
            r"source\.\S+ is read-only here",
        ),
        codes=("PRC205",),
        sources=("scikit-learn/scikit-learn#5956", "joblib/joblib#1627", "ipython/ipyparallel#742"),
    ),
    Case(
        number="E14",
        name="shm-transport-overhead",
        reported=0,
        symptom="Handing arrays over in shared memory is slower than the work itself: every SharedMemoryArray takes a "
        "millisecond to delete, `next()` 224 ms for what takes 40.",
        cause="Each array gets a block of its own, which is made, mapped, unmapped and removed; its pages are new each "
        "time.",
        answers=("PREVENT",),
        here="One slot for a batch, used again when the batch is dropped: its pages stay mapped. Where `__getitem__` "
        "makes its arrays by numpy, they are made in the slot at once. `statistics()` counts what was placed, what "
        "came in a segment of its own, and what had to be pickled.",
        fix="print(loader.statistics())  # placed in slots, pickled, and why\n"
        "print(loader.statistics().segments)  # batches that were larger than their slot",
        tests=(
            "tests/catalogue/test_limits.py::test_slots_are_used_again",
            "tests/engine/test_arena.py::test_the_warmest_slot_is_lent_first",
            "tests/test_placement.py::test_most_bytes_are_not_copied",
        ),
        signs=(
            "SharedMemoryArray",
            r"(?i)shared memory.{0,80}\b(slow\w*|overhead)\b",
            r"(?i)\b(shm_open|munmap)\b.{0,60}(per|each|every) (array|batch)",
        ),
        codes=("PRC306", "PRC605"),
        sources=("google/grain#851",),
        untested="The milliseconds: benchmarks/ measures the transport beside that of others; a test shows that the "
        "blocks are reused.",
    ),
    Case(
        number="E15",
        name="systemd-removeipc",
        reported=1,
        symptom="`RuntimeError: could not unlink the shared memory file /torch_4711_12`, or `FileNotFoundError` in "
        "`SemLock._rebuild`, at random times on a server where the run was started over ssh or by mpirun and the login "
        "has ended.",
        cause="systemd-logind with `RemoveIPC=yes` removes all that a user has in /dev/shm when the user's last "
        "session ends.",
        answers=("PREVENT",),
        here="Nothing of it is in /dev/shm: neither shared memory nor semaphores have a name that could be removed.",
        fix="loginctl enable-linger $USER  # for other libraries: the user counts as logged in\n"
        "# or RemoveIPC=no in /etc/systemd/logind.conf",
        tests=("tests/catalogue/test_limits.py::test_nothing_is_there_to_be_removed",),
        signs=(
            r"could not unlink the shared memory file /torch_\w+",
            "RemoveIPC",
            r"SemLock\._rebuild\b[^\0]{0,80}\bat random times",
            r"(?i)shared memory.{0,60}(vanish|disappear|gone).{0,60}\b(log|ssh|session)",
        ),
        sources=("mlcommons/storage#447", "mlcommons/storage PR#460"),
        untested="systemd itself: the test of stock torch removes the name by hand.",
    ),
    Case(
        number="E16",
        name="afunix-path-too-long",
        reported=2,
        symptom="`OSError: AF_UNIX path too long`, often in a child process, while the program itself only sees "
        "`EOFError`.",
        cause="multiprocessing makes the sockets of managers, of the fork server and for the sharing of descriptors as "
        "files below `$TMPDIR`, and the name of a socket may have about 108 bytes.",
        answers=("PREVENT",),
        here="Sockets come in pairs without a name, and no file is made anywhere: TMPDIR may be long, missing or "
        "read-only.",
        fix="TMPDIR=/tmp python train.py  # where you use multiprocessing.Manager or the fork server yourself\n"
        "self.seen = procession.SharedDict()  # instead of multiprocessing.Manager().dict()",
        tests=(
            "tests/catalogue/test_limits.py::test_a_long_temporary_folder",
            "tests/test_limits.py::test_no_directory_is_needed",
        ),
        signs=("AF_UNIX path too long",),
        sources=("KaiyangZhou/deep-person-reid#499", "hzi-bifo/RiboDetector#57", "autogluon/autogluon#1213"),
    ),
    Case(
        number="E17",
        name="result-too-large-to-send",
        reported=2,
        symptom="`multiprocessing.pool.MaybeEncodingError: Error sending result: '(array([[[[121.781 …'. Reason: …`, "
        "with a screenful of numbers; `struct.error: 'i' format requires -2147483648 <= number <= 2147483647`.",
        cause="A result is sent as one pickled message. Something in it cannot be pickled (a lock, a handle), or it is "
        "larger than the 2 GB of older message headers; and the error prints the result.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Arrays of any size go through shared memory. What else is in a batch is pickled; if that fails, a "
        "BatchError names the path in the batch and the type, with a note that says which batch of which epoch, and no "
        "number of the array is printed.",
        fix="return x, y  # arrays, numbers, text: not locks, models or file handles",
        tests=(
            "tests/catalogue/test_limits.py::test_a_result_that_cannot_be_sent",
            "tests/test_bad_input.py::test_what_cannot_be_delivered_is_named",
            "tests/test_streams.py::test_batches_larger_than_their_slot",
        ),
        signs=(
            r"multiprocessing\.pool\.MaybeEncodingError: Error sending result",
            "MaybeEncodingError",
            "'i' format requires -2147483648 <= number <= 2147483647",
            "(?i)cannot serialize a string larger than 2 ?GiB",
        ),
        codes=("PRC302", "PRC306"),
        sources=("fizyr/keras-retinanet#1212", "joblib/joblib#514", "pytorch/pytorch#1595"),
        untested="A batch of more than 2 GB, which a test of this size should not allocate.",
    ),
    Case(
        number="E18",
        name="thread-limit-pthread-create",
        reported=2,
        symptom="`Check failed: ret == 0 (11 vs. 0) Thread creation via pthread_create() failed.` and an abort; "
        "`OpenBLAS blas_thread_init: pthread_create failed for thread 7 of 64: Resource temporarily unavailable`; "
        "`RuntimeError: can't start new thread`.",
        cause="Each process that uses TensorFlow, BLAS or OpenMP starts a pool of threads for all cores of the "
        "machine. Workers times cores is more than the user, or the container (pids limit), may have.",
        answers=("PREVENT", "RECOVER", "DIAGNOSE"),
        here="In workers and in the template TensorFlow, OpenMP, OpenBLAS, MKL, numba, OpenCV, Rayon and polars get "
        "one thread each, whatever the number of cores. If a worker cannot be started, the loader goes on with fewer "
        "and warns; if none can, a LimitError names the limit.",
        fix="ulimit -u; cat /sys/fs/cgroup/pids.max  # which limit it is\n"
        "docker run --pids-limit=-1 ...  # or fewer workers\n"
        "# without Procession: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 python train.py",
        tests=(
            "tests/catalogue/test_limits.py::test_threads_of_tensorflow",
            "tests/test_limits.py::test_a_bound_on_processes",
        ),
        signs=(
            r"Thread( \S+)? creation via pthread_create\(\) failed",
            r"pthread_create failed for thread \d+ of \d+",
            "RuntimeError: can't start new thread",
            "libgomp: Thread creation failed",
            r"\(RLIMIT_NPROC",
        ),
        codes=("PRC415", "PRC410"),
        sources=("tensorflow/tensorflow#41532", "tensorflow/tensorflow#40656", "ray-project/ray#27895"),
    ),
    Case(
        number="E19",
        name="persistent-worker-leak",
        reported=1,
        symptom="With workers that live on (`persistent_workers=True`, loky) memory jumps by gigabytes when the second "
        "pass begins, or creeps up over a long run until it is out of memory, since a library in the worker leaks.",
        cause="The old pass's prefetched batches are still there when the new one's are made; or the worker leaks and "
        "is never replaced.",
        answers=("RECOVER",),
        here="Faults(recycle_after=batches) and Faults(max_memory=bytes) replace a worker between two batches: none is "
        "lost, repeated or changed. All passes use the same slots, so none overlap.",
        fix="faults = procession.Faults(recycle_after=10_000, max_memory=2 << 30)\n"
        "loader = procession.Loader(source, workers=4, faults=faults)\n"
        "# without Procession: multiprocessing.Pool(4, maxtasksperchild=1000)",
        tests=(
            "tests/test_faults.py::test_a_worker_that_leaks_is_recycled",
            "tests/test_faults.py::test_workers_are_recycled_without_a_gap",
            "tests/catalogue/test_memory.py::test_memory_stays_flat_over_epochs",
        ),
        signs=(
            r"(?i)persistent[_ ]workers\b.{0,120}\b(memory|RAM|leak)",
            r"(?i)\b(memory|RAM|leak\w*)\b.{0,120}persistent[_ ]workers",
            r"(?i)max_?tasks_?per_?child|library .{0,30}\bleaks\b",
        ),
        codes=("PRC501",),
        sources=("pytorch/pytorch#62066", "pytorch/pytorch#122935", "joblib/loky#373"),
    ),
)
