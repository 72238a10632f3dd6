"""Cases A1 to A6: how Keras takes a dataset, and what it expects of one."""

from procession.doctor.catalogue.case import Case

API: tuple[Case, ...] = (
    Case(
        number="A1",
        name="fit-workers-typeerror",
        reported=2,
        symptom=(
            "`TypeError: TensorFlowTrainer.fit() got an unexpected keyword argument 'workers'` (or "
            "'use_multiprocessing', 'max_queue_size'), at the first `fit` after a change to Keras 3."
        ),
        cause=(
            "In Keras 3 these three are arguments of the dataset's constructor; `fit`, `evaluate` and `predict` "
            "refuse them."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "Under `procession run script.py`, and after `procession.install()`, `fit`, `evaluate` and `predict` "
            "take the three again and do what they say. `Loader(source, workers=4)` needs none of them. Where they "
            "are given together with data that nobody reads in parallel (arrays, a generator), a note says that they "
            "do nothing."
        ),
        fix=(
            "# The script as it is, in a shell:  procession run train.py\n"
            "# or one line at its top:\n"
            "import procession\n"
            "procession.install()\n"
            "model.fit(data, workers=4, use_multiprocessing=True, max_queue_size=16)\n"
            "# or for one dataset:\n"
            "model.fit(procession.Loader(data, workers=4))\n"
            "# Without Procession:\n"
            "#     fit(MyDataset(..., workers=4, use_multiprocessing=True, max_queue_size=16))"
        ),
        tests=(
            "tests/catalogue/test_api.py::test_fit_takes_workers_again",
            "tests/adapters/test_install.py::test_who_asks_for_workers_gets_them",
            "tests/adapters/test_install.py::test_keywords_of_no_use_are_noted_once",
        ),
        signs=(
            (
                r"(fit|evaluate|predict)\(\) got an unexpected keyword argument '(workers|use_multiprocessing"
                r"|max_queue_size|max_q_size)'"
            ),
            r"has no attribute '(fit|evaluate|predict)_generator'",
        ),
        codes=("PRC710",),
        sources=(
            "pythonlessons/mltu#60",
            "nasa/progpy#158",
            "keras-team/keras#14330",
        ),
    ),
    Case(
        number="A2",
        name="super-init-not-called",
        reported=1,
        symptom=(
            "``UserWarning: Your `PyDataset` class should call `super().__init__(**kwargs)` in its constructor``; "
            "training goes on, but on one thread."
        ),
        cause=(
            "`workers` and `use_multiprocessing` live in the base class. A dataset from the time of `Sequence` never "
            "calls its constructor, and Keras then takes one worker and no processes."
        ),
        answers=("PREVENT",),
        here=(
            "Nothing of the base class is used: a source needs `__len__` and `__getitem__`, and workers are those of "
            "`Loader(source, workers=...)` or `install(workers=...)`."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # whatever its constructor does\n"
            "# Without Procession:\n"
            "#     def __init__(self, files, **kwargs):\n"
            "#         super().__init__(**kwargs)"
        ),
        tests=("tests/catalogue/test_api.py::test_the_base_class_need_not_be_initialised",),
        signs=(r"class should call `super\(\)\.__init__\(\*\*kwargs\)` in its constructor",),
        sources=(
            "keras-team/keras#21068",
            "frankkramer-lab/aucmedi#232",
        ),
    ),
    Case(
        number="A3",
        name="generator-duplicated-by-workers",
        reported=2,
        symptom=(
            "``UserWarning: Using a generator with `use_multiprocessing=True` and multiple workers may duplicate "
            "your data``; all workers deliver the same batches, and predictions do not belong to their rows."
        ),
        cause="A generator has no index. Each process gets a copy of it, and begins with the first batch.",
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "A generator, or any other iterator, is refused with a `SourceTypeError` that shows two ways out. What "
            "has an index is read once, whoever reads it. `install()` leaves generators to Keras, in the training "
            "process."
        ),
        fix=(
            "class Batches(keras.utils.PyDataset):\n"
            "    def __init__(self, files, size):\n"
            "        super().__init__()\n"
            "        self.files, self.size = files, size\n"
            "\n"
            "    def __len__(self):\n"
            "        return -(-len(self.files) // self.size)\n"
            "\n"
            "    def __getitem__(self, i):  # what one turn of the generator's loop did, for batch i\n"
            "        return load(self.files[i * self.size : (i + 1) * self.size])\n"
            "\n"
            "\n"
            "model.fit(procession.Loader(Batches(files, 32), workers=4))\n"
            "# Without Procession a generator may have one worker and no more: workers=1."
        ),
        tests=("tests/catalogue/test_api.py::test_a_generator_is_refused_and_its_index_is_read_once",),
        signs=(
            r"'generator' object is not subscriptable",
            r"multiple workers may duplicate your data",
            r"the source is an? (generator|iterator) \(",
            r"(?i)(each|every|all) (worker|process)\w*.{0,40}(copy of|restarts?|runs) the generator",
        ),
        codes=("PRC105",),
        sources=(
            "keras-team/keras#4142",
            "keras-team/keras#11878",
            "matterport/Mask_RCNN#514",
        ),
    ),
    Case(
        number="A4",
        name="not-thread-safe-generator",
        reported=2,
        symptom=(
            "`ValueError: generator already executing`, then ``RuntimeError: Your generator is NOT thread-safe. "
            "Keras requires a thread-safe generator when `use_multiprocessing=False, workers > 1` ``."
        ),
        cause=(
            "Several threads ask one generator for its next batch, which Python forbids. A lock around it cures the "
            "error, and what was gained by threads with it."
        ),
        answers=("PREVENT",),
        here=(
            "No iterator is ever shared: generators are refused in all executors (`SourceTypeError`). Threads call "
            "`source[i]`, each with an index of its own; processes have a copy of the source each."
        ),
        fix=(
            "# Give it an index: a class with __len__ and __getitem__ that makes batch i (see A3), then\n"
            'loader = procession.Loader(Batches(files, 32), workers=4, executor="threads")\n'
            "# or, if all of it fits into memory:\n"
            "loader = procession.Loader(list(generator), workers=4)"
        ),
        tests=("tests/catalogue/test_api.py::test_no_iterator_is_shared_between_threads",),
        signs=(
            r"generator already executing",
            r"[Yy]our generator is NOT thread-safe",
        ),
        codes=("PRC105",),
        sources=(
            "keras-team/keras#1638",
            "keras-team/keras#13222",
            "divamgupta/image-segmentation-keras#42",
        ),
    ),
    Case(
        number="A5",
        name="pydataset-iteration-endless",
        reported=0,
        symptom="`for x, y in dataset:` in a training loop of one's own never stops, although `len(dataset)` is right.",
        cause=(
            "Python loops over what has only `__getitem__` until it raises IndexError, and the iterator of PyDataset "
            "paid no attention to the length either (seen in Keras 3.4.1; in 3.15 it does)."
        ),
        answers=("PREVENT",),
        here="A Loader iterates for itself: each loop is one epoch of `len(source)` items, read by the workers.",
        fix=(
            "with procession.Loader(data, workers=4) as loader:\n"
            "    for epoch in range(10):\n"
            "        for x, y in loader:\n"
            "            train_step(x, y)\n"
            "# Without Procession: for i in range(len(data)): x, y = data[i]"
        ),
        tests=("tests/catalogue/test_api.py::test_a_loop_stops_at_the_length",),
        signs=(
            r"(?i)\bfor .{1,40} in \w+.{0,60}(never (stops|ends)|does not (stop|end)|endless|runs for ?ever)",
            r"(?i)(iterat\w+|loop\w*) .{0,40}(PyDataset|Sequence)\b.{0,60}(never (stops|ends)|endless|infinite)",
        ),
        sources=("keras-team/keras#20001",),
    ),
    Case(
        number="A6",
        name="batch-structure-mismatch",
        reported=2,
        symptom=(
            "``TypeError: `generator` yielded an element that did not match the expected structure``, or ``yielded "
            "an element of shape () where an element of shape (None, None) was expected``, inside a trace of `{{node "
            "PyFunc}}`."
        ),
        cause=(
            "On TensorFlow, Keras fixes the form of all batches by the first two. A batch of another structure, rank "
            "or dtype fails there, and nothing says which it was."
        ),
        answers=("DIAGNOSE",),
        here=(
            "The form is taken from the first two batches, a middle one and the last. A batch that differs raises a "
            "`BatchError` with its number, the part of it (`[0]`, `['a']`) and both shapes. A size that is seen to "
            "change is left open. Neither JAX, torch nor a plain loop needs one form: there such batches are "
            "delivered as they are."
        ),
        fix=(
            "def __getitem__(self, i):\n"
            "    x, y = self.read(i)\n"
            '    x = np.asarray(x, "float32").reshape(-1, *self.shape)  # the same rank and dtype for every i\n'
            "    return x, y  # and the same tuple or dict"
        ),
        tests=(
            "tests/catalogue/test_items.py::test_a_batch_of_another_form_is_named",
            "tests/adapters/test_behaviour.py::test_a_form_that_changes_under_tensorflow",
            "tests/adapters/test_behaviour.py::test_a_shape_that_changes_under_tensorflow",
        ),
        signs=(
            r"yielded an element that did not match the expected structure",
            r"yielded an element of shape .{1,60} where an element of shape",
            r"yielded an element that could not be converted to the expected type",
            r"TensorFlow needs the same (structure|number) throughout",
            r"but the batches looked at when this began",
        ),
        codes=(
            "PRC302",
            "PRC303",
        ),
        sources=(
            "keras-team/keras#20600",
            "keras-team/keras#14308",
            "tensorflow/tensorflow#48188",
        ),
    ),
)
