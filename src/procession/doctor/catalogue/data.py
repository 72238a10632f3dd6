"""Cases G: data that are wrong."""

from procession.doctor.catalogue.case import Case

DATA: tuple[Case, ...] = (
    Case(
        number="G1",
        name="numpy-rng-duplicated",
        reported=3,
        symptom="No error: `np.random` gives the same numbers in every worker, so that augmented images repeat (8 "
        "workers, 8 identical lines of np.random.randint).",
        cause="A fork copies the state of numpy's global generator, and Keras does not seed it. `random` is seeded "
        "anew in each process: other numbers, but not the same in the next run.",
        answers=("PREVENT",),
        here="`random`, `numpy.random`, torch's generator and those that the source holds are seeded before each item, "
        "by (seed, epoch, index); `procession.rng()` is so in threads too.",
        fix="noise = procession.rng().normal(size=image.shape)  # in __getitem__; np.random.normal will do as well\n"
        "# without Procession, in __getitem__:\n"
        "rng = np.random.default_rng((self.seed, self.epoch, i))",
        tests=(
            "tests/catalogue/test_data.py::test_random_numbers_of_workers_epochs_and_their_number",
            "tests/test_streams.py::test_random_numbers_are_of_seed_epoch_and_index",
            "tests/test_own_generators.py::test_the_stream_is_that_of_serial",
        ),
        signs=(
            r"(?i)\b(all|every|each) workers?\b[^.\n]{0,60}\b(same|identical)\b[^.\n]{0,40}(augment|random|noise|crop)",
            r"(?i)(np|numpy)\.random[^\n]{0,60}\b(same|identical|duplicate)\w*\b[^.\n]{0,60}\bworkers?\b",
        ),
        codes=("PRC209", "PRC207"),
        sources=("pytorch/pytorch#5059", "facebookresearch/fairseq#1383", "matterport/Mask_RCNN#1511"),
    ),
    Case(
        number="G2",
        name="rng-same-every-epoch",
        reported=2,
        symptom="No error: every epoch repeats the same random crops, and the model sees each image in one form only.",
        cause="Workers are forked again for each epoch, from a process whose generator has not moved. A seed that is "
        "set in the worker does the same.",
        answers=("PREVENT", "DIAGNOSE"),
        here="The epoch is part of the seed of each item, for generators that the source holds too. A source that "
        "seeds a generator itself in __getitem__, by the index alone, is found by the doctor (PRC208).",
        fix="rng = procession.rng()  # in __getitem__, instead of np.random.default_rng(i)\n"
        "# without Procession: count epochs in on_epoch_end, and seed by (epoch, i)",
        tests=(
            "tests/catalogue/test_data.py::test_random_numbers_of_workers_epochs_and_their_number",
            "tests/test_streams.py::test_random_numbers_are_of_seed_epoch_and_index",
        ),
        signs=(
            r"(?i)\b(every|each) epoch\b[^.\n]{0,30}\b(repeats?|same|identical)\b[^.\n]{0,30}\b(random|augment|crop)",
            r"(?i)\b(random|augment|crop)\w*[^.\n]{0,40}\b(same|identical|repeat)\w*\b[^.\n]{0,20}\b(every|each) epoch",
        ),
        codes=("PRC208",),
        sources=("pytorch/pytorch#41329", "pytorch/pytorch#5059", "pytorch/pytorch#7265"),
    ),
    Case(
        number="G3",
        name="seed-not-reproducible-with-workers",
        reported=2,
        symptom="`keras.utils.set_random_seed` gives the same run with one worker, and another each time with several.",
        cause="Which worker takes which item, and which of several threads draws first from a generator that they "
        "share, is a matter of timing.",
        answers=("PREVENT", "DIAGNOSE"),
        here="What an item is depends on (source, seed, epoch, index), not on who makes it: 0, 1 or N workers give "
        "the same batches, after a crash too. Without seed= it is drawn from `random`, so that set_random_seed fixes "
        "it. Threads share the global generators: use procession.rng() with them. What draws from the clock or the "
        "system is found by the doctor.",
        fix="loader = procession.Loader(source, workers=4, seed=7)\n"
        "# without Procession, in __getitem__: rng = np.random.default_rng((7, self.epoch, i))",
        tests=(
            "tests/catalogue/test_data.py::test_random_numbers_of_workers_epochs_and_their_number",
            "tests/test_streams.py::test_seeding_the_program_fixes_the_seed_of_a_loader",
            "tests/test_faults.py::test_kills_at_random_while_it_runs",
        ),
        signs=(
            r"(?i)set_random_seed[^\n]{0,60}\bworkers?\b",
            r"(?i)\b(not|isn't|aren't|no longer|non-?) ?(reproducible|deterministic)\b[^.\n]{0,40}\bworkers\b",
        ),
        codes=("PRC202", "PRC207"),
        sources=("keras-team/keras#11365", "keras-team/keras#10501", "webdataset/webdataset#122"),
    ),
    Case(
        number="G4",
        name="zip-tar-offset-shared",
        reported=2,
        symptom="`zipfile.BadZipFile: Bad CRC-32 for file '…'`, `Bad magic number for file header`, `zlib.error: Error "
        "-3 while decompressing data`, or wrong bytes without an error, from an archive that is whole.",
        cause="An open file that is forked has one position for all processes: one moves it between another's seek and "
        "read.",
        answers=("PREVENT",),
        here="Files and archives that a source holds are opened anew by each worker, at the position that they had; "
        "those that it opens when it is unpickled, too.",
        fix="self.archive = zipfile.ZipFile(path)  # in __init__: each worker gets its own\n"
        "# without Procession: open it on first use in the worker\n"
        "if self.archive is None:\n    self.archive = zipfile.ZipFile(self.path)",
        tests=(
            "tests/catalogue/test_data.py::test_an_archive_that_workers_share",
            "tests/test_handles.py::test_no_two_workers_share_an_offset",
            "tests/test_handles.py::test_a_file_that_the_source_opens_itself_is_every_workers_own",
            "tests/test_offsets.py::test_workers_that_come_after_others_were_killed",
        ),
        signs=(
            r"Bad CRC-32 for file",
            r"BadZipFile: Bad magic number for file header",
            r"BadZipFile: Truncated file header",
            r"zlib\.error: Error -3 while decompressing",
            r"tarfile\.ReadError: (unexpected end of data|invalid header|bad checksum)",
        ),
        codes=("PRC403",),
        sources=("zarr-developers/zarr-python#1218", "mehta-lab/VisCy#417", "vocalpy/vak#402"),
    ),
    Case(
        number="G5",
        name="h5py-handle-shared",
        reported=2,
        symptom="`OSError: Can't read data (inflate() failed)` or `(wrong B-tree signature)`, `KeyError: 'Unable to "
        "open object (bad object header version number)'`, or wrong data, from a file that is whole; only with "
        "workers.",
        cause="The forked copies of an open HDF5 file share its position, and each goes on with a copy of caches that "
        "belong to it. Which versions of HDF5 show it differs: 1.14.6 did not.",
        answers=("PREVENT", "DIAGNOSE"),
        here="h5py files, groups and datasets that are open for reading are opened by each worker for itself. One that "
        "is open for writing ('r+', 'a', 'w') is a CaptureError that names the attribute.",
        fix='self.file = h5py.File(path, "r")  # in __init__; say "r"\n'
        "# without Procession: open it on first use in the worker\n"
        'if self.file is None:\n    self.file = h5py.File(self.path, "r")',
        tests=(
            "tests/catalogue/test_data.py::test_one_hdf5_file_for_training_and_validation",
            "tests/test_handles.py::test_workers_read_what_the_training_process_reads",
            "tests/capture/test_handles.py::test_what_cannot_arrive_is_named_with_what_to_write_instead",
        ),
        signs=(
            r"bad object header version number",
            r"inflate\(\) failed",
            r"wrong B-tree signature",
            r"Can't (synchronously )?read (some )?data \((?!can't open)",
        ),
        codes=("PRC103",),
        sources=("pytorch/pytorch#11887", "pytorch/pytorch#11928", "h5py/h5py#934", "vaexio/vaex#625"),
        untested="The stock failure: with h5py 3.14 on HDF5 1.14.6 forked readers of one handle read what is there.",
    ),
    Case(
        number="G6",
        name="hdf5-threads-segfault",
        reported=1,
        symptom="A segmentation fault right after the first epoch, where training and validation data are read from "
        "HDF5 by threads (pandas' read_hdf, PyTables beside h5py).",
        cause="Two threads are in HDF5 libraries that do not know of each other's locks. h5py alone has one lock for "
        "all its calls; PyTables brings its own copy of HDF5.",
        answers=("PREVENT",),
        here="Worker processes have one thread each, training and validation workers of their own. With "
        "executor='threads' the source runs in several threads, and the library sets no lock around it: what "
        "is not made for threads has to be locked by the source, or read by processes.",
        fix='loader = procession.Loader(source, workers=4, executor="processes")  # the default\n'
        "# in threads, with or without Procession: one lock for all that reads HDF5\n"
        "LOCK = threading.Lock()\n"
        "def __getitem__(self, i):\n"
        "    with LOCK:\n"
        "        return pandas.read_hdf(self.path, start=i * 32, stop=i * 32 + 32)",
        tests=(
            "tests/catalogue/test_data.py::test_one_hdf5_file_for_training_and_validation",
            "tests/test_processes.py::test_what_a_worker_sees",
        ),
        signs=(
            r"(?i)segmentation fault[^\0]{0,200}\b(hdf5?|h5py|read_hdf|pytables)\b",
            r"(?i)\b(hdf5?|h5py|read_hdf|pytables)\b[^\0]{0,200}segmentation fault",
        ),
        sources=("keras-team/keras#8225", "h5py/h5py#1764"),
        untested="PyTables, which is no dependency of the tests, and so the crash itself.",
    ),
    Case(
        number="G7",
        name="order-changes-with-workers",
        reported=2,
        symptom="No error: with several workers, batches come in another order than the source has them, and what "
        "predict returns belongs to other rows.",
        cause="A queue without order delivers first what is ready first.",
        answers=("PREVENT",),
        here="Batches come in the order of the source, or of the shuffled epoch, whoever is ready first. "
        "`ordered=False` has to be asked for. In predict, rows are missing only where items are skipped by "
        "`Faults(on_error='skip')`, and statistics().skipped lists them.",
        fix="model.predict(procession.Loader(source, workers=4))  # rows as the source has them\n"
        "# without Procession: number the batches, and sort what comes back; pool.imap, not imap_unordered",
        tests=(
            "tests/catalogue/test_data.py::test_the_order_is_that_of_the_source",
            "tests/test_streams.py::test_the_stream_is_what_the_source_returns",
            "tests/test_streams.py::test_shuffled_order_is_of_the_seed_alone",
        ),
        signs=(
            r"(?i)\b(another|different|wrong|random) order\b[^.\n]{0,40}\bworkers\b",
            r"(?i)\bworkers\b[^.\n]{0,40}\b(another|different|wrong|random) order\b",
            r"(?i)\border of (the )?(batches|predictions|samples)\b[^.\n]{0,40}\b(changes|differs)\b",
            r"(?i)\b(predictions|batches)\b[^.\n]{0,40}\bout of order\b",
        ),
        sources=("keras-team/keras#6786", "keras-team/keras#6891", "dmlc/dgl#7695", "reczoo/FuxiCTR#86"),
    ),
    Case(
        number="G8",
        name="data-lost-per-worker-remainder",
        reported=0,
        symptom="No error: with drop_last and several workers there are fewer batches than there should be (90 rows of "
        "103, in tens, by three workers).",
        cause="The data are split among the workers first, and each then drops an incomplete batch of its own.",
        answers=("PREVENT",),
        here="Batches are numbered in the training process and given out by number, so that there is one rest for all, "
        "whatever the number of workers. Partitions are sources of their own: each has its rest.",
        fix="loader = procession.Loader(data, batch_size=10, drop_remainder=True, workers=3)\n"
        "# without Procession: split indices of batches, not rows, among the workers",
        tests=(
            "tests/catalogue/test_data.py::test_what_is_left_over_is_left_over_once",
            "tests/test_streams.py::test_samples_are_stacked",
        ),
        signs=(
            r"(?i)\b(drop_last|drop_remainder)\b[^.\n]{0,60}\bworkers\b",
            r"(?i)\bfewer (batches|samples|rows)\b[^.\n]{0,60}\bworkers\b",
        ),
        codes=("PRC305",),
        sources=("google/grain#1129", "google/grain#398"),
    ),
)
