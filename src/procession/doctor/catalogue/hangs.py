"""Cases B1 to B6: training stands still."""

from procession.doctor.catalogue.case import Case

HANGS: tuple[Case, ...] = (
    Case(
        number="B1",
        name="fork-after-tf-threads",
        reported=3,
        symptom=(
            "A TensorFlow operation in `__getitem__` (a cast, a resize, `convert_to_tensor`) never returns in the "
            "workers: no CPU is used, nothing is said, the epoch stays at step 0. With tiny arrays it works."
        ),
        cause=(
            "The workers are forked from a process whose TensorFlow has threads. A fork copies the memory, not the "
            "threads, and an operation that is large enough to be given to them waits for ever."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "The training process is never forked. Workers come from a template process that imports what the source "
            "needs and runs nothing; TensorFlow starts in each worker, on the CPU, with one thread. Whatever should "
            "still get stuck is named after 30 s, with index, worker and Python stack (logger `procession`), and "
            "ended by `Faults(timeout=...)`."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # TensorFlow in __getitem__ included\n"
            "# Without Procession: numpy, PIL or OpenCV in __getitem__; or, before anything else of the script,\n"
            '#     multiprocessing.set_start_method("spawn")'
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_tensorflow_works_in_workers",
            "tests/test_frameworks.py::test_a_framework_in_a_source",
        ),
        signs=(
            r"(?i)\b(tf|tensorflow)\b.{0,60}__getitem__.{0,80}(hang|block|stuck|freez|deadlock|never)",
            r"(?i)__getitem__.{0,80}\b(tf\.\w+|tensorflow)\b.{0,80}(hang|block|stuck|freez|deadlock|never)",
            r"(?i)(hang|block|stuck|freez|deadlock)\w*.{0,60}(\btf\.(cast|image|io|constant|stack)|convert_to_tensor)",
        ),
        codes=(
            "PRC401",
            "PRC702",
        ),
        sources=(
            "tensorflow/tensorflow#60660",
            "tensorflow/tensorflow#35317",
            "tensorflow/tensorflow#8220",
            "keras-team/keras#9964",
        ),
    ),
    Case(
        number="B2",
        name="keras-mp-silent-freeze",
        reported=3,
        symptom=(
            "`use_multiprocessing=True` freezes in the first or second epoch, with the GPU at 0 % and no error; "
            "perhaps after `multiprocessing can interact badly with TensorFlow, causing nondeterministic deadlocks`."
        ),
        cause=(
            "Any of what a fork takes along of a process with threads (see B1, B7 to B10): a lock that is held, "
            "threads that are gone. Whether it happens depends on the moment of the fork, hence on the number of "
            "workers and the machine."
        ),
        answers=(
            "PREVENT",
            "RECOVER",
            "DIAGNOSE",
        ),
        here=(
            "The training process is not forked, so nothing of its locks and threads is in a worker. Every wait of "
            "the consumer ends when a worker dies. A batch that is late is said on the logger `procession` after 30 "
            "s, with index, worker and stack; `Faults(timeout=...)` ends its worker and has it made again."
        ),
        fix=(
            "faults = procession.Faults(timeout=120)\n"
            "model.fit(procession.Loader(data, workers=4, faults=faults))\n"
            '# Without Procession: multiprocessing.set_start_method("spawn") as the first statement,\n'
            '# and all the rest of the script under  if __name__ == "__main__":'
        ),
        tests=(
            "tests/catalogue/test_forks.py::test_tensorflow_works_in_workers",
            "tests/catalogue/test_forks.py::test_a_silent_freeze_is_recognised",
            "tests/test_faults.py::test_a_worker_that_is_stuck_is_replaced",
            "tests/test_faults.py::test_a_notice_says_what_the_consumer_waits_for",
        ),
        signs=(
            r"multiprocessing can interact badly with TensorFlow",
            r"(?i)use_multiprocessing ?= ?True.{0,80}(freez|hang|stuck|deadlock|stops? (respond|progress))",
            r"(?i)(freez|hang|stuck|deadlock)\w*.{0,60}use_multiprocessing ?= ?True",
        ),
        codes=(
            "PRC702",
            "PRC416",
        ),
        sources=(
            "keras-team/keras#10340",
            "keras-team/keras#14332",
            "tensorflow/tensorflow#46316",
            "kermitt2/delft#71",
        ),
        untested=(
            "It happens by chance, so there is no test that has it happen with stock Keras; those of its causes that "
            "can be brought about are tested one by one (B1, B7 to B10)."
        ),
    ),
    Case(
        number="B3",
        name="end-of-epoch-freeze",
        reported=3,
        symptom=(
            "The progress bar stays at 1999/2000, or training hangs at the end of epoch 1, where validation or the "
            "next epoch should begin."
        ),
        cause=(
            "At the end of each epoch Keras stops its pool and starts another, for validation one more, and waits "
            "for threads meanwhile. What went wrong differs between versions; wrong `validation_steps` do it too."
        ),
        answers=("PREVENT",),
        here=(
            "Nothing is stopped or started between epochs: workers live as long as the Loader, those of training and "
            "of validation each by themselves, and an epoch ends by a count. If a batch should not come, the wait "
            "for it is told after 30 s."
        ),
        fix=(
            "with procession.Loader(data) as train, procession.Loader(held_out, workers=2) as validation:\n"
            "    model.fit(train, validation_data=validation, epochs=10)  # without validation_steps: all of it"
        ),
        tests=(
            "tests/catalogue/test_hangs.py::test_epochs_end_and_begin_with_validation",
            "tests/catalogue/test_hangs.py::test_a_freeze_at_the_end_of_an_epoch_is_recognised",
            "tests/adapters/test_behaviour.py::test_hooks_of_validation_data",
            "tests/test_processes.py::test_a_thousand_short_epochs",
        ),
        signs=(
            r"(?i)(stuck|hang|freez|stop|stay)\w*.{0,40}\b\d*9/\d+0\b",
            r"(?i)(stuck|hang|freez|stop)\w* .{0,30}\b(end|last (step|batch)|final (step|batch)) of .{0,20}epoch",
            r"(?i)(end|last (step|batch)) of .{0,20}epoch.{0,40}(hang|freez|stuck|never)",
        ),
        sources=(
            "keras-team/keras#8595",
            "keras-team/keras#20425",
            "keras-team/keras#12840",
            "tensorflow/tensorflow#36287",
        ),
        untested=(
            "The report of 2024 is of Windows, where workers do not run yet. Stock Keras 3.15 on Linux does not "
            "freeze there, so that only this library is tested, on three backends."
        ),
    ),
    Case(
        number="B4",
        name="worker-sigkill-hang",
        reported=3,
        symptom=(
            "A worker is killed (by the kernel, out of memory, or `kill -9`), and the training process waits for "
            "ever, at 0 % CPU and without a message."
        ),
        cause=(
            "`multiprocessing.Pool` starts another worker but does not give it the lost task, and the result is "
            "waited for without limit. Killed at the wrong moment, a worker also keeps the lock of the queue."
        ),
        answers=(
            "RECOVER",
            "DIAGNOSE",
        ),
        here=(
            "The death is noticed at once. The worker is replaced, what it had in hand is made again, and the stream "
            "stays what it was; `statistics().deaths` counts. An item that kills its worker three times "
            "(`Faults.retries` is 2) ends the epoch with a `WorkerDiedError`, which names the signal, the worker, "
            "the index and what bounds memory, or is skipped if `on_error` says so. After ten deaths in an epoch "
            "(`max_restarts`): `RestartsError`."
        ),
        fix=(
            'faults = procession.Faults(on_error="skip", retries=2, max_restarts=10)\n'
            "model.fit(procession.Loader(data, workers=4, faults=faults))\n"
            "# If memory is the reason: fewer workers, and procession.share(array) for what all of them read"
        ),
        tests=(
            "tests/catalogue/test_hangs.py::test_a_killed_worker_is_replaced",
            "tests/catalogue/test_hangs.py::test_an_item_that_always_kills_is_named",
            "tests/test_faults.py::test_the_stream_is_that_of_serial",
            "tests/adapters/test_behaviour.py::test_a_worker_that_is_killed",
        ),
        signs=(
            (
                r"(?i)(kill -9|SIGKILL|OOM[ -]kill\w*|\bkill(s|ed))\b.{0,80}\b(hangs?|hung|waits?|freez\w*|stuck"
                r"|blocks? for)\b"
            ),
            r"(?i)\b(hangs?|hung|waits?|freez\w*|stuck)\b.{0,60}\bworker.{0,30}(was|is|got|been) killed",
            r"Faults\(max_restarts=",
        ),
        codes=(
            "PRC701",
            "PRC703",
        ),
        sources=(
            "python/cpython#96062",
            "uqfoundation/pathos#230",
            "wilhelm-lab/oktoberfest#372",
            "dssg/triage#501",
        ),
    ),
    Case(
        number="B5",
        name="unpicklable-exception-hang",
        reported=2,
        symptom=(
            "A worker raises an exception of one's own, and the training process hangs; all there is to see is "
            "`TypeError: BadError.__init__() missing 1 required positional argument: 'text'`, from a thread."
        ),
        cause=(
            "An exception is pickled as its class and `args`. If its constructor wants something else it cannot be "
            "rebuilt, and the thread of the pool that reads results dies of that."
        ),
        answers=("PREVENT",),
        here=(
            "Each exception is rebuilt once in the worker, before it is sent. If that fails, class, arguments and "
            "attributes go by themselves, past the constructor; if not even the class can be sent, its name, text "
            "and traceback do. What arrives is raised, with the index."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # whatever it raises\n"
            "# Without Procession: give all arguments on\n"
            "#     class BadError(Exception):\n"
            "#         def __init__(self, code, text):\n"
            "#             super().__init__(code, text)"
        ),
        tests=(
            "tests/catalogue/test_hangs.py::test_an_exception_that_cannot_be_rebuilt_arrives",
            "tests/test_bad_input.py::test_an_exception_that_cannot_be_pickled_arrives_by_its_class",
        ),
        signs=(
            r"(?s)_handle_results.{0,4000}__init__\(\) missing \d+ required (positional|keyword)",
            r"A result has failed to un-?serialize",
            r"(?i)\bexception of (my|one's) own\b.{0,60}(hang|wait|freez)",
            r"(?i)\bcustom exception.{0,80}(hang|wait|freez)",
            r"(?i)exception.{0,60}(can ?not|can't) be (un)?pickled.{0,80}(hang|wait|freez)",
        ),
        codes=("PRC301",),
        sources=(
            "python/cpython#79492",
            "python/cpython#103061",
            "noxdafox/pebble#146",
        ),
    ),
    Case(
        number="B6",
        name="hook-exception-hang",
        reported=0,
        symptom="`on_epoch_end` raises, and the process hangs instead of failing.",
        cause=(
            "The hook ran in the thread that fills the queue. That died, and told nobody (Keras 2; present versions "
            "call it in the main thread)."
        ),
        answers=("PREVENT",),
        here=(
            "Hooks run in the thread that reads from the Loader, and what they raise comes out of `fit` or of the "
            "loop. The Loader can be used afterwards."
        ),
        fix=(
            "def on_epoch_end(self):\n"
            '    raise RuntimeError("no more files")  # comes out of  model.fit(procession.Loader(data))'
        ),
        tests=(
            "tests/catalogue/test_hangs.py::test_an_exception_of_a_hook_arrives",
            "tests/test_bad_input.py::test_an_exception_in_a_hook_comes_out_and_the_loader_goes_on",
        ),
        signs=(r"(?i)on_epoch_(end|begin).{0,60}(rais|exception|error)\w*.{0,80}(hang|freez|stuck|never)",),
        codes=("PRC210",),
        sources=("keras-team/keras#12704",),
        untested=(
            "The Keras of the report (2.2, of 2019) does not run on present Pythons; with Keras 2.21 and 3.15 the "
            "exception comes out."
        ),
    ),
)
