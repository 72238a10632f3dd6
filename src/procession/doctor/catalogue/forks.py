"""Cases B7 to B10: what a fork takes along of the process that it copies. (B1 and B2: `hangs`.)"""

from procession.doctor.catalogue.case import Case

FORKS: tuple[Case, ...] = (
    Case(
        number="B7",
        name="opencv-openmp-after-fork",
        reported=2,
        symptom=(
            "A worker is stuck in `cv2.resize`, `cv2.warpAffine` or a matrix product, above some size; or ends with "
            "`Terminating: fork() called from a process already using GNU OpenMP, this is unsafe`."
        ),
        cause=(
            "OpenCV and OpenMP keep threads between two calls. After a fork the child counts on them, and they are "
            "not there."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "What the training process has used is not in the workers. In them OpenMP, OpenBLAS, MKL, OpenCV, "
            "numexpr and numba have one thread each, set before anything is imported; a source may set more for "
            "itself. A worker that is stuck in native code is shown with the Python line that called it."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # with cv2 as it is\n"
            "# Without Procession, in the training process and before the first call:\n"
            "#     cv2.setNumThreads(0)\n"
            "# and in a shell:  OMP_NUM_THREADS=1 python train.py"
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_openmp_works_in_workers",
            "tests/catalogue/test_forks.py::test_opencv_works_in_workers",
            "tests/test_processes.py::test_what_a_worker_sees",
            "tests/test_faults.py::test_the_stack_of_a_worker_that_holds_the_interpreter",
        ),
        signs=(
            r"fork\(\) called from a process already using GNU OpenMP",
            r"(?i)\b(cv2|opencv)\b.{0,80}(hang|stuck|deadlock|freez|never returns)",
            r"(?i)(hang|stuck|deadlock|freez)\w*.{0,60}\b(cv2|opencv|OpenMP|libgomp)\b",
            r"(?i)OMP_NUM_THREADS.{0,40}(hang|stuck|deadlock|freez)",
        ),
        codes=("PRC702",),
        sources=(
            "pytorch/pytorch#1355",
            "pytorch/pytorch#45198",
            "albumentations-team/albumentations#1825",
        ),
        untested=(
            "The OpenCV that the tests use (5.0, with threads of its own) survives a fork; builds with OpenMP do "
            "not. OpenMP itself is tested with torch, whose matrix product hangs in a forked pool."
        ),
    ),
    Case(
        number="B8",
        name="rust-and-arrow-pools-after-fork",
        reported=2,
        symptom=(
            "`collect()`, `filter` or `encode` never returns in a worker; `RuntimeWarning: Using fork() can cause "
            "Polars to deadlock in the child process`; `huggingface/tokenizers: The current process just got forked, "
            "after parallelism has already been used`."
        ),
        cause=(
            "Polars, tokenizers and Arrow have pools of threads. If these were used before the fork, their locks may "
            "be held in the child, by threads that it does not have."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "Workers start without any of them having been used; their pools have one thread each. A source that "
            "holds a frame or a tokenizer is rebuilt in a worker where rebuilding it starts threads. There is no "
            "option to fork the training process."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # with polars, pyarrow and tokenizers as they are\n"
            '# Without Procession: multiprocessing.get_context("spawn"), or in a shell for tokenizers:\n'
            "#     TOKENIZERS_PARALLELISM=false python train.py"
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_polars_works_in_workers",
            "tests/catalogue/test_forks.py::test_tokenizers_work_in_workers",
            "tests/test_from_others.py::test_a_source_that_holds_a_frame",
        ),
        signs=(
            r"fork\(\) can cause Polars to deadlock",
            r"The current process just got forked, after parallelism has already been used",
            r"(?i)\b(polars|tokenizers?|pyarrow|rayon)\b.{0,80}(hang|deadlock|stuck|freez|never returns)",
        ),
        codes=("PRC403",),
        sources=(
            "pola-rs/polars#17526",
            "pola-rs/polars#24162",
            "huggingface/tokenizers#187",
            "Lightning-AI/litData#823",
        ),
    ),
    Case(
        number="B9",
        name="logging-and-stdio-locks-after-fork",
        reported=2,
        symptom="A child process stops at its first log line or `print`, or at its end, while it flushes stdout.",
        cause=(
            "A thread was writing at the moment of the fork. The lock of that file or handler is copied locked, and "
            "nobody in the child will open it."
        ),
        answers=("PREVENT",),
        here=(
            "Workers are forked from the template, which has no thread that writes. Loggers and handlers travel by "
            "name, locks as new ones. What workers print goes straight to the script's standard output and error."
        ),
        fix=(
            "import logging\n"
            "\n"
            "\n"
            "class Data(keras.utils.PyDataset):\n"
            "    def __getitem__(self, i):\n"
            '        logging.getLogger(__name__).warning("item %d", i)  # is written by the worker\n'
            "        ...\n"
            "\n"
            "\n"
            "model.fit(procession.Loader(Data(), workers=4))\n"
            '# Without Procession: no print and no logging in __getitem__, or the start method "spawn"'
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_workers_log_while_the_training_process_does",
            "tests/test_handles.py::test_a_source_with_locks_and_a_log",
        ),
        signs=(
            (
                r"(?i)(hang|stuck|deadlock|block|stops?)\w*.{0,60}\b(log (line|call|record|message)|logging"
                r"|logger|flush\w*)"
            ),
            r"(?i)\b(logging|logger|stdout|print)\b.{0,60}(hang|deadlock|stuck).{0,60}\b(fork|child|worker)",
            r"(?i)\b(child|fork|worker)\w*.{0,60}\b(logging|stdout)\b.{0,40}\block",
        ),
        sources=(
            "python/cpython#91776",
            "python/cpython#81610",
            "jruere/multiprocessing-logging#26",
        ),
    ),
    Case(
        number="B10",
        name="fsspec-eventloop-after-fork",
        reported=2,
        symptom=(
            "`RuntimeError: This class is not fork-safe`, or reading from S3 or GCS hangs with processes and works "
            "with threads."
        ),
        cause=(
            "File systems that work asynchronously have an event loop in a thread of their own, which a forked child "
            "does not have; the file system, and the cache of them, are copied all the same."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "A file system that the source holds is sent by its arguments and made anew, with its own loop; where "
            "that starts threads, each worker makes it for itself. One that is opened in `__getitem__` is the "
            "worker's own."
        ),
        fix=(
            "class Data(keras.utils.PyDataset):\n"
            "    def __init__(self, names):\n"
            "        super().__init__()\n"
            '        self.names, self.remote = names, fsspec.filesystem("s3")\n'
            "\n"
            "    def __getitem__(self, i):\n"
            "        return decode(self.remote.cat_file(self.names[i]))\n"
            "\n"
            "\n"
            "model.fit(procession.Loader(Data(names), workers=16))\n"
            '# Without Procession: make it in __getitem__, on first use in each process, or start by "spawn"'
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_remote_file_systems_work_in_workers",
            "tests/test_processes.py::test_a_source_that_starts_threads_when_unpickled",
        ),
        signs=(
            r"This class is not fork-safe",
            r"(?i)\b(s3fs|gcsfs|adlfs|fsspec)\b.{0,80}(hang|stuck|deadlock|freez|fork)",
        ),
        codes=("PRC403",),
        sources=(
            "fsspec/gcsfs#379",
            "fsspec/s3fs#369",
            "fsspec/filesystem_spec#755",
        ),
        untested=(
            "No S3 or GCS is reached from the tests: the file system is one of fsspec's asynchronous class that "
            "answers by itself."
        ),
    ),
)
