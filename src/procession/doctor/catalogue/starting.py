"""Cases C, first part: how the script and its objects come to a worker: `__main__`, notebooks, pickle."""

from procession.doctor.catalogue.case import Case

STARTING: tuple[Case, ...] = (
    Case(
        number="C1",
        name="no-main-guard",
        reported=3,
        symptom="`RuntimeError: An attempt has been made to start a new process before the current process has "
        "finished its bootstrapping phase`, with advice about `if __name__ == '__main__'` and `freeze_support()`; "
        "often once per worker. On Windows, macOS, and Linux from Python 3.14.",
        cause="A process that is not forked begins by importing the script. If that starts processes at its top level, "
        "so does each of them, which multiprocessing refuses.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Workers have an entry of their own and never run the script; classes of it travel by value. No guard is "
        "needed, for a Loader, `install()` or `procession run`. A module that reads a Loader when it is imported, and "
        "that a source needs, is an ImportedAgainError with its line.",
        fix="for batch in procession.Loader(source, workers=4): ...  # at the top level of the script, if you like\n"
        "# without Procession: what starts processes goes behind a guard\n"
        'if __name__ == "__main__":\n    main()',
        tests=(
            "tests/catalogue/test_starting.py::test_a_script_without_a_guard",
            "tests/capture/test_pickling.py::test_classes_of_a_script_without_a_guard",
            "tests/test_bad_input.py::test_a_loader_that_starts_when_its_module_is_imported",
        ),
        signs=(
            r"attempt has been made to start a new process before\s+the\s+current process has finished its\s+bootstrap",
            r"forgotten to use the proper idiom\s+in the main module",
            r"a Loader was to start workers at [^\n]*, which runs while the workers of another one load its source",
        ),
        codes=("PRC102",),
        sources=("pytorch/pytorch#73726", "skjerns/AutoSleepScorer#8", "autodistill/autodistill#75"),
    ),
    Case(
        number="C2",
        name="main-script-runs-again",
        reported=2,
        symptom="What the script does at its top level happens once more in every worker: lines printed several times, "
        "the model built again, training that starts again at epoch 1, `MPI_Init_thread` that aborts. Slow starts.",
        cause="The same import of the script as `__mp_main__`, where the guard covers only a part of it.",
        answers=("PREVENT",),
        here="The script runs once. What the source's class, its functions and their globals need of it travels by "
        "value; modules that these name are imported once, in the process that workers are forked from.",
        fix="procession run train.py  # or Loader(source, workers=4) in it: nothing has to be moved\n"
        '# without Procession: all but imports, classes and functions goes behind `if __name__ == "__main__":`',
        tests=(
            "tests/catalogue/test_starting.py::test_the_script_is_run_once",
            "tests/capture/test_pickling.py::test_classes_of_a_script_without_a_guard",
        ),
        signs=(
            r"(?i)\b(script|code|training) [^.\n]{0,40}\b(runs?|starts) [^.\n]{0,40}(once per|in every|in each) worker",
            r"\bMPI_Init(_thread)?\b",
        ),
        codes=("PRC405",),
        sources=("pytorch/pytorch#12831", "ultralytics/yolov3#412", "roboflow/rf-detr#788", "mlcommons/storage#415"),
    ),
    Case(
        number="C3",
        name="notebook-class-not-found",
        reported=3,
        symptom="`AttributeError: Can't get attribute 'MyDataset' on <module '__main__' (built-in)>`, from a notebook, "
        "a shell or `python -c`; with a Pool the cell hangs, since each worker that dies of it is replaced.",
        cause="Pickle sends a class as the name of its module and its own; in a new interpreter `__main__` is empty.",
        answers=("PREVENT", "DIAGNOSE"),
        here="What is defined in `__main__` travels by value, so a cell, a shell or `-c` will do; a class that is "
        "defined anew is the new one in the next loader. A source that cannot be rebuilt is one error, raised from the "
        "first batch with the worker's traceback: no worker is started again for it.",
        fix="loader = procession.Loader(MyDataset(), workers=4)  # in the cell\n"
        "# without Procession: put the class into a file beside the notebook\n"
        "from my_dataset import MyDataset",
        tests=(
            "tests/catalogue/test_starting.py::test_a_class_of_a_notebook_or_of_the_command_line",
            "tests/test_places.py::test_a_notebook",
            "tests/test_places.py::test_ipython",
            "tests/capture/test_pickling.py::test_a_source_that_breaks_when_unpickled_is_a_prompt_error",
        ),
        signs=(r"Can't get attribute '[^']+' on <module '__(mp_)?main__'",),
        codes=("PRC102",),
        sources=("jupyter/notebook#5951", "microsoft/vscode-jupyter#12485", "Lightning-AI/litData#295"),
    ),
    Case(
        number="C4",
        name="stdin-entrypoint",
        reported=1,
        symptom="`FileNotFoundError: [Errno 2] No such file or directory: '/path/<stdin>'` from multiprocessing.spawn, "
        "for a script that comes through a pipe (`python - <<EOF`).",
        cause="`__main__.__file__` is then the text `<stdin>`, which the new process takes for the file to import.",
        answers=("PREVENT",),
        here="No worker looks for the script: its classes travel by value. `procession run -` reads it from standard "
        "input too.",
        fix="procession run - <<'EOF'   # or plain `python -`, with a Loader in the script\n...\nEOF\n"
        "# without Procession: write the script to a file first",
        tests=(
            "tests/catalogue/test_starting.py::test_a_script_on_standard_input",
            "tests/test_places.py::test_a_program_in_other_places",
        ),
        signs=(r"No such file or directory: '[^'\n]*<(stdin|string|input)>'",),
        sources=("vllm-project/vllm#43782", "microsoft/vscode-jupyter#13993"),
    ),
    Case(
        number="C5",
        name="lambda-or-local-object",
        reported=3,
        symptom="`AttributeError: Can't pickle local object 'DS.__init__.<locals>.<lambda>'`; from Python 3.13 on "
        "`Can't get local object …`, from 3.14 on `_pickle.PicklingError: Can't pickle local object <function …>`.",
        cause="Pickle sends functions and classes by name, and what is made inside a function has none that could be "
        "imported. With fork nothing was pickled, so that it did not show.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Lambdas, closures, and classes made inside of functions travel by value, with what they name. What one "
        "of them holds that cannot travel is named by its path: `source.augment → reader`.",
        fix="self.augment = lambda x: x[::-1]  # is fine\n"
        "# without Procession: a function at the top of a module, with functools.partial for its arguments\n"
        "self.augment = functools.partial(flipped, axis=1)",
        tests=(
            "tests/catalogue/test_pickles.py::test_a_lambda_and_a_local_class",
            "tests/capture/test_pickling.py::test_what_has_no_name_to_import_travels",
            "tests/capture/test_pickling.py::test_what_cannot_be_sent_is_named_by_its_path",
        ),
        signs=(
            r"Can't (pickle|get) local (object|attribute) ",
            r"Can't pickle <(function|class) [^\n]*<(lambda|locals)>",
            r"(?i)\bcan(no|')t pickle\b[^.\n]{0,30}\b(lambda|closure|local (class|function))",
        ),
        codes=("PRC101",),
        sources=("openai/CLIP#151", "catalyst-team/catalyst#1024", "facebookresearch/SparseConvNet#125"),
    ),
    Case(
        number="C6",
        name="py314-forkserver-default",
        reported=2,
        symptom="What has run for years on Linux fails with Python 3.14: `_pickle.PicklingError: Can't pickle local "
        "object <function …>` or `TypeError: cannot pickle '…' object`, out of popen_forkserver.py.",
        cause="From 3.14 on, multiprocessing on Linux starts processes by `forkserver`, not `fork`: what they get has "
        "to be pickled.",
        answers=("PREVENT",),
        here="Workers start in one way on every Python, whatever start method is set: forked from a clean process of "
        "the library's own. Lambdas, closures and local classes travel by value, and handles are opened anew.",
        fix="loader = procession.Loader(source, workers=4)\n"
        "# without Procession, as before, with all that fork brings (see C15, B1):\n"
        'multiprocessing.set_start_method("fork")',
        tests=(
            "tests/catalogue/test_starting.py::test_the_default_of_python_3_14",
            "tests/capture/test_pickling.py::test_what_has_no_name_to_import_travels",
        ),
        signs=(
            r"(Can't (pickle|get) local object|cannot pickle '|Can't pickle <)[^\0]*popen_forkserver\.py",
            r"popen_forkserver\.py[^\0]*(Can't (pickle|get) local object|cannot pickle '|Can't pickle <)",
            r"(?i)python ?3\.14\b[^.\n]{0,80}\b(forkserver|pickl)",
        ),
        codes=("PRC416",),
        sources=("facebookresearch/spdl#1565", "pytorch/pytorch#167429", "motioneye-project/motioneye#3256"),
        untested="Python 3.14 itself: its message is taken from its source, and its default is set by "
        "set_start_method on others.",
    ),
    Case(
        number="C7",
        name="open-handle-in-dataset",
        reported=2,
        symptom="`TypeError: cannot pickle '_io.BufferedReader' object` (from 3.12 on `'BufferedReader' instances`), "
        "`cannot pickle '_thread.lock' object`, `h5py objects cannot be pickled`, `can't pickle Environment objects` "
        "(lmdb).",
        cause="Files, connections and locks belong to the process that has opened them. With fork they travel, and "
        "break in other ways: see G4 and G5.",
        answers=("RECOVER", "DIAGNOSE"),
        here="Files open for reading, archives, HDF5, SQLite, memory maps, images, locks and loggers are made anew in "
        "each worker (docs/sources.md has the list). lmdb and other libraries are registered with two lines. What is "
        "open for writing, and all else, is a CaptureError that names the attribute and says what to write.",
        fix="procession.register(Reader, lambda reader: (Reader, (reader.path,)))  # for a reader of your own\n"
        "# or, without Procession too, open it on first use in the worker\n"
        "def __getstate__(self):\n"
        '    return {**vars(self), "env": None}\n'
        "def __getitem__(self, i):\n"
        "    if self.env is None:\n"
        "        self.env = lmdb.open(self.path, readonly=True, lock=False)",
        tests=(
            "tests/catalogue/test_pickles.py::test_an_open_handle",
            "tests/catalogue/test_pickles.py::test_a_reader_of_another_library_is_registered_or_named",
            "tests/test_handles.py::test_workers_read_what_the_training_process_reads",
            "tests/capture/test_handles.py::test_what_cannot_arrive_is_named_with_what_to_write_instead",
        ),
        signs=(
            r"cannot pickle '(?!generator|coroutine|async_generator)[\w.]+' (object|instances)",
            r"cannot serialize '_io\.\w+' object",
            r"[Cc]an't pickle (_thread\.\w+|Environment|sqlite3\.\w+|_io\.\w+|mmap\.mmap|SwigPyObject|module) objects",
            r"h5py objects cannot be pickled",
            r" is a (?!generator,|multiprocessing\.)[\w.<>]+, which cannot be sent to the worker processes",
        ),
        codes=("PRC101", "PRC103"),
        sources=("pytorch/vision#689", "jnwatson/py-lmdb#266", "baudm/parseq#6", "h5py/h5py#934"),
        untested="lmdb itself, which is no dependency of the tests: a reader that pickle refuses stands for it.",
    ),
    Case(
        number="C8",
        name="generator-object-pickle-windows",
        reported=2,
        symptom="`TypeError: cannot pickle 'generator' object` (`can't pickle generator objects`), Keras 2's "
        "`ValueError: Using a generator with use_multiprocessing=True is not supported on Windows (no marshalling of "
        "generators across process boundaries)`, or a fit that freezes in silence.",
        cause="Where a generator has got to is a frame of the interpreter, which cannot be sent. Forked, it is "
        "copied, and every worker yields the same (A3).",
        answers=("DIAGNOSE",),
        here="A generator as the source is a SourceTypeError when the Loader is made; one that the source holds is a "
        "CaptureError with its attribute. Both say what to write instead.",
        fix="class Batches(keras.utils.PyDataset):  # with or without Procession: what has an index can be shared\n"
        "    def __len__(self):\n"
        "        return len(self.files) // 32\n"
        "    def __getitem__(self, i):\n"
        "        return load(self.files[32 * i : 32 * (i + 1)])\n"
        "# or, if it fits into memory: Loader(list(generator))",
        tests=(
            "tests/catalogue/test_pickles.py::test_a_generator",
            "tests/test_bad_input.py::test_what_cannot_work_is_refused_at_once",
        ),
        signs=(
            r"cannot pickle '(async_)?generator' object",
            r"can't pickle generator objects",
            r"no marshalling of\s+generators across process boundaries",
            r" is a generator, which cannot be sent to the worker processes",
        ),
        codes=("PRC105", "PRC101"),
        sources=("keras-team/keras#12885", "keras-team/keras#5071", "keras-team/keras#10842"),
        untested="Windows: its refusal is Keras 2's own text; that of pickle is the same everywhere.",
    ),
    Case(
        number="C9",
        name="context-already-set",
        reported=2,
        symptom="`RuntimeError: context has already been set` from `multiprocessing.set_start_method`.",
        cause="The start method of a program can be set once. The first lock, queue or process that some import makes "
        "without a context of its own sets it to the default.",
        answers=("PREVENT",),
        here="The library neither sets nor reads it, before or after a Loader: it is the program's to set.",
        fix="loader = procession.Loader(source, workers=4)  # needs no start method: leave the call out\n"
        "# without Procession: a context of one's own leaves that of the program alone\n"
        'context = multiprocessing.get_context("spawn")\n'
        "process = context.Process(target=work, args=(context.Queue(),))",
        tests=("tests/catalogue/test_starting.py::test_the_start_method_is_the_programs",),
        signs=("context has already been set",),
        codes=("PRC416",),
        sources=("pytorch/pytorch#3492", "facebookresearch/SlowFast#204", "DeepLabCut/DeepLabCut#1362"),
    ),
)
