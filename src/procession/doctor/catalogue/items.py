"""Cases A11 to A14: where items are made, and what comes of those that are None or raise."""

from procession.doctor.catalogue.case import Case

ITEMS: tuple[Case, ...] = (
    Case(
        number="A11",
        name="parent-peek-opens-handles",
        reported=0,
        symptom=(
            "`__getitem__` runs twice in the main process before any worker does: files that it opens on first use "
            "are open when the workers are forked, and are shared by all of them."
        ),
        cause=(
            "On TensorFlow, Keras asks for `dataset[0]` and `dataset[1]` itself, to learn the form, and forks "
            "afterwards."
        ),
        answers=("PREVENT",),
        here=(
            "`__getitem__` runs in workers alone. What has to be known of the form comes from batches that they have "
            "made: the first two, which are then delivered, and a middle one and the last. In threads and in serial "
            "there is but one process."
        ),
        fix=(
            "def __getitem__(self, i):\n"
            "    if self.file is None:  # on first use, in the worker\n"
            "        self.file = open(self.path, 'rb')\n"
            "    ...\n"
            "# Without Procession also ask whose it is: if self.pid != os.getpid(): open it anew"
        ),
        tests=(
            "tests/catalogue/test_items.py::test_source_code_runs_in_workers_alone",
            "tests/test_processes.py::test_user_code_never_runs_in_the_training_process",
        ),
        signs=(
            r"(?i)__getitem__.{0,60}\b(main|parent|training) process\b",
            r"(?i)__getitem__.{0,40}twice.{0,40}before",
        ),
        sources=("mehta-lab/VisCy#417",),
    ),
    Case(
        number="A12",
        name="none-batch-hang",
        reported=0,
        symptom="Training stops near the end of an epoch, without a message, after one `__getitem__` returned None.",
        cause="The enqueuer of Keras drops what is None, while the epoch still waits for its full number of batches.",
        answers=("DIAGNOSE",),
        here=(
            "`BatchError: source[2] returned None instead of a batch`, as soon as it is made. "
            '`Faults(on_error="skip")` leaves it out, with a count in `statistics()` and one warning an epoch.'
        ),
        fix=(
            "# Mostly it is a path of __getitem__ without `return`. To leave out what is known to be unusable:\n"
            "self.files = [name for name in files if usable(name)]\n"
            "# or what turns out to be:\n"
            'loader = procession.Loader(data, faults=procession.Faults(on_error="skip"))'
        ),
        tests=(
            "tests/catalogue/test_items.py::test_a_batch_that_is_none_is_named",
            "tests/catalogue/test_items.py::test_stock_keras_waits_for_a_batch_that_is_none",
        ),
        signs=(
            r"returned None instead of a batch",
            r"(?i)__getitem__.{0,40} return(s|ed|ing)? `?None",
        ),
        codes=(
            "PRC302",
            "PRC711",
        ),
        sources=("keras-team/keras#9874",),
    ),
    Case(
        number="A13",
        name="bad-sample-kills-run",
        reported=3,
        symptom=(
            "One damaged file raises in a worker (`OSError: image file is truncated`), and a night's training is "
            "over; or None is returned for it, and stacking fails (`found <class 'NoneType'>`)."
        ),
        cause=(
            "There is no rule for items that fail. What people write instead, returning the next item, delivers that "
            "one twice."
        ),
        answers=("RECOVER",),
        here=(
            'By default the exception is raised. `Faults(on_error="skip")` leaves the item out: its index and '
            'exception are in `statistics().skipped`, and one warning an epoch counts them. `"retry"` makes it '
            "again, `retries` times; a function of (index, exception) decides for each. With `batch_size`, only the "
            "sample is left out."
        ),
        fix=(
            'faults = procession.Faults(on_error="skip", retries=2)\n'
            "loader = procession.Loader(data, workers=4, faults=faults)\n"
            "model.fit(loader)\n"
            "print([(skip.index, skip.error) for skip in loader.statistics().skipped])"
        ),
        tests=(
            "tests/catalogue/test_items.py::test_a_damaged_sample_is_left_out",
            "tests/test_faults.py::test_exceptions_are_skipped",
            "tests/test_faults.py::test_exceptions_are_retried",
            "tests/test_faults.py::test_bad_samples_are_left_out",
        ),
        signs=(
            r"found <class 'NoneType'>",
            r"image file is truncated",
            r"cannot identify image file",
            r"(?i)\b(one|a single) (bad|broken|corrupt(ed)?|damaged|truncated|unreadable) (file|image|sample|record)",
            r"SkippedWarning",
        ),
        codes=(
            "PRC301",
            "PRC711",
        ),
        sources=(
            "pytorch/pytorch#1137",
            "pytorch/pytorch#57429",
            "allenai/allennlp#5709",
        ),
    ),
    Case(
        number="A14",
        name="traceback-lost-in-worker",
        reported=2,
        symptom=(
            "Instead of the error in `__getitem__`, `InvalidArgumentError: Graph execution error: ... {{node "
            "PyFunc}}` on TensorFlow, or only `StopIteration` in old versions."
        ),
        cause="The enqueuer, and TensorFlow's layer that calls Python, raise an exception of another type.",
        answers=("DIAGNOSE",),
        here=(
            "`fit` raises the exception itself, of its own type, on every backend. Notes say which index and which "
            "worker, and show the worker's traceback. One that pickle cannot rebuild comes by its class, arguments "
            "and attributes."
        ),
        fix=(
            "try:\n"
            "    model.fit(procession.Loader(data, workers=4))\n"
            "except OSError as error:  # what __getitem__ raised\n"
            '    print(error, *error.__notes__, sep="\\n")\n'
            "# Without Procession: call data[i] yourself for every i, without fit around it"
        ),
        tests=(
            "tests/catalogue/test_items.py::test_an_exception_arrives_as_itself",
            "tests/catalogue/test_items.py::test_what_tensorflow_makes_of_an_exception_is_recognised",
            "tests/adapters/test_behaviour.py::test_an_exception_of_the_source_comes_out_as_itself",
        ),
        signs=(
            r"\{\{node PyFunc\}\}",
            r"Detected at node PyFunc",
            r"StopIteration: '\w+' object",
            r"(?i)only.{0,20}StopIteration\b",
        ),
        codes=("PRC301",),
        sources=(
            "keras-team/keras#1533",
            "divamgupta/image-segmentation-keras#25",
            "matterport/Mask_RCNN#407",
        ),
    ),
)
