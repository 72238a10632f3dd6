"""Cases H: speed that is reported as a failure."""

from procession.doctor.catalogue.case import Case

SPEED: tuple[Case, ...] = (
    Case(
        number="H1",
        name="workers-give-no-speedup",
        reported=2,
        symptom="With `workers=4` training is no faster, the CPU stays at 100% instead of 400%, and batches arrive in "
        "bursts. No message.",
        cause="One of three: the workers are threads, which wait for each other's Python code (the GIL); the data are "
        "arrays or a tf.data.Dataset, for which `workers=` does nothing; or `__getitem__` is a slice, and there is "
        "nothing to share out.",
        answers=("DIAGNOSE",),
        here='Workers are processes unless `executor="threads"` is asked for. `loader.statistics()` tells how long '
        "workers were at work and how long the consumer waited: little waiting means that the model is what takes the "
        "time. `procession doctor` says which of the causes it is, and `procession run` notes where `workers=` has no "
        "effect.",
        fix="loader = procession.Loader(train_sequence, workers=4)\n"
        "model.fit(loader)\n"
        "print(loader.statistics())  # hardly waited: it is the model that takes the time",
        tests=(
            "tests/catalogue/test_speed.py::test_keras_makes_all_in_one_process_and_we_do_not",
            "tests/adapters/test_install.py::test_keywords_of_no_use_are_noted_once",
            "tests/catalogue/test_speed.py::test_who_waits_is_told",
        ),
        signs=(
            r"(?i)\b(data ?loading|input pipeline)\b.{0,20}\bbottleneck",
            r"(?i)\bon(ly)? one (cpu )?core( only)?\b(?!.{0,60}import)",
            r"(?i)\bgpu\b.{0,40}(\d+ ?%|idle|starv|under-?utili[sz]|waits).{0,80}\bworkers?\b",
            r"(?i)\bworkers?\b.{0,60}\b(no|not any|isn't any|without) (speed[- ]?up|faster|gain)",
            r"(?i)\bCPU\b.{0,40}\b100 ?%.{0,30}(instead of|not|of) \d+ ?%",
            "(?i)batches (arrive|come) in bursts",
        ),
        codes=("PRC601", "PRC602", "PRC603", "PRC605"),
        sources=("keras-team/keras#17118", "tensorflow/tensorflow#57903", "keras-team/keras#9835"),
        untested="The speed: tests measure no time. That items are made in other processes is tested; benchmarks/ has "
        "the times.",
    ),
    Case(
        number="H2",
        name="mp-slower-than-none",
        reported=2,
        symptom="Training is slower with `use_multiprocessing=True` or `num_workers=4` than without: an epoch of 2 "
        "minutes takes 10. Worst on Windows, and where the data are in memory.",
        cause="Pickling each batch, sending it through a pipe and unpickling it, and starting the processes anew each "
        "epoch, costs more than making it.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Arrays are not pickled: a batch is written once to shared memory, or made there, and read from where it "
        "lies; workers start once. What a small batch costs beyond being made is some tens of microseconds. There is "
        "no automatic change to serial: if a source is so quick that workers do not pay off, `procession doctor` says "
        "so, and workers=0 is serial.",
        fix="loader = procession.Loader(source, workers=0)  # slices of arrays in memory: no workers at all\n"
        "print(loader.statistics().pickled)  # what had to be pickled after all, and why",
        tests=(
            "tests/catalogue/test_speed.py::test_stock_pickles_every_batch_and_we_do_not",
            "tests/test_placement.py::test_most_bytes_are_not_copied",
            "tests/test_processes.py::test_workers_persist_over_epochs",
        ),
        signs=(
            r"(?i)\bslower\b.{0,30}\b(with|using|when)\b.{0,30}(multiprocessing|num_workers|workers ?[=>])",
            r"(?i)(multiprocessing|num_workers)\b.{0,60}\bslower than (with ?out|single|none|no |num_workers)",
            r"(?i)multiprocessing (makes|made) .{0,30}\bslower\b",
        ),
        codes=("PRC601", "PRC306"),
        sources=("pytorch/pytorch#12831", "keras-team/keras#11727", "keras-team/keras#10474"),
        untested="The speed, and Windows. benchmarks/ measures it beside Keras, torch and Grain.",
    ),
    Case(
        number="H3",
        name="cpu-oversubscription",
        reported=2,
        symptom="The more workers, the slower; the load average is far above the number of cores (oversubscription).",
        cause="Every worker opens a BLAS, OpenMP, OpenCV or TensorFlow pool with a thread for each core.",
        answers=("PREVENT",),
        here="Workers run native libraries with one thread: OMP_NUM_THREADS and its like (OpenBLAS, MKL, BLIS, "
        "numexpr, numba, TensorFlow, OpenCV, Rayon, polars) are 1 in the template before anything is imported. The "
        "training process keeps its own.",
        fix="# nothing to write. To raise it for one library: torch.set_num_threads(2) in the source's __getitem__\n"
        "# without Procession: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 python train.py",
        tests=(
            "tests/catalogue/test_speed.py::test_native_threads",
            "tests/test_processes.py::test_what_a_worker_sees",
        ),
        signs=(
            r"(?i)\boversubscri",
            r"(?i)\bload (average )?\w* ?.{0,20}(above|higher than|beyond|exceeds) the (number of )?(cores|CPUs)",
            r"(?i)\bmore workers\b.{0,30}\bslower\b|\bslower\b.{0,20}\bmore workers\b",
        ),
        codes=("PRC414",),
        sources=("pytorch/pytorch#82219", "pytorch/pytorch#22535", "rwth-i6/returnn#1780"),
    ),
    Case(
        number="H4",
        name="too-many-workers-for-container",
        reported=2,
        symptom="`UserWarning: This DataLoader will create 12 worker processes in total. Our suggested max number of "
        "worker in current system is 2`; in a container or under SLURM as many workers start as the host has cores.",
        cause="`os.cpu_count()` counts the host's cores, not those that the container's CPU quota or the affinity mask "
        "leaves.",
        answers=("PREVENT", "DIAGNOSE"),
        here='`workers="auto"` is the number of usable cores: those in the affinity mask, and no more than the CPU '
        "quota of the cgroup (version 2, as seen at /sys/fs/cgroup) allows. Memory is not counted. `procession doctor` "
        "tells the figures.",
        fix='loader = procession.Loader(source)  # workers="auto"\n'
        "len(os.sched_getaffinity(0))  # instead of os.cpu_count()",
        tests=(
            "tests/catalogue/test_speed.py::test_cores_that_may_be_used",
            "tests/test_config.py::test_usable_cores_are_those_of_the_affinity_mask",
        ),
        signs=(
            r"This DataLoader will create \d+ worker processes in total",
            r"(?i)\bcpu_count\(\)[^\0]{0,120}\b(container|docker|cgroup|slurm|quota|host)",
            r"(?i)\b(container|docker|cgroup|slurm|quota)\b[^\0]{0,120}\bcpu_count\b",
        ),
        codes=("PRC414", "PRC413"),
        sources=(
            "pytorch/pytorch PR#46867",
            "hypernetwork-research-group/hypertorch#121",
            "thatmattlove/hyperglass#356",
        ),
        untested="A real CPU quota, and cgroups of version 1, whose quotas are not read: a file in place of the "
        "quota's stands for it.",
    ),
    Case(
        number="H5",
        name="head-of-line-blocking",
        reported=2,
        symptom="One slow item stalls everything though the batches after it are ready (head-of-line blocking): "
        "training stops and starts.",
        cause="Batches are handed out strictly in order, and in many loaders each worker has its turn whether it is "
        "free or not.",
        answers=("PREVENT", "DIAGNOSE"),
        here="A worker gets its next tasks when it is done with those it has, so that a slow item costs its own "
        "worker, and the tasks that it was given along with it: at most its share of `prefetch=`, none with "
        "prefetch=workers. The others go on. What is ready waits in order, as far as `prefetch=` goes; with "
        "`ordered=False` it is delivered at once, each still exactly once an epoch.",
        fix="# where the order does not matter; prefetch=workers: no task waits behind a slow one\n"
        "model.fit(procession.Loader(source, workers=4, prefetch=4, ordered=False))\n"
        "procession.Loader(source, workers=4, prefetch=64)  # or a longer way ahead, in order\n"
        "# without Procession: torch's DataLoader(..., in_order=False), Pool.imap_unordered",
        tests=(
            "tests/catalogue/test_speed.py::test_one_slow_item",
            "tests/test_unordered.py::test_one_that_is_slow_holds_up_no_others",
            "tests/test_unordered.py::test_all_workers_but_one_are_held_up",
        ),
        signs=(
            "(?i)head[- ]of[- ]line",
            r"(?i)\b(one|a single|some) slow (item|sample|batch|file|worker)\b.{0,60}\b(stall|block|hold|delay|stop)",
        ),
        codes=("PRC604",),
        sources=("pytorch/pytorch#78798", "pytorch/pytorch PR#132189", "pytorch/pytorch PR#141833"),
    ),
    Case(
        number="H6",
        name="affinity-pins-all-workers",
        reported=2,
        symptom="All workers share one core, the others are idle; `taskset -p` shows an affinity mask of 1. It began "
        "with importing a package that is linked with BLAS or OpenMP.",
        cause="OpenBLAS built with affinity, or OMP_PROC_BIND with GNU OpenMP (torch), binds the process that loads it "
        "to one core, and children inherit the mask.",
        answers=("PREVENT", "DIAGNOSE"),
        here="Where OpenMP is told to bind, workers may run on the cores that the training process could use when it "
        "imported Procession, whatever a library has bound it to since, and OMP_PROC_BIND is false in them. "
        "`procession doctor` tells the mask.",
        fix="import procession  # before torch\n"
        "# elsewhere, in the shell, before python:\n"
        "# unset OMP_PROC_BIND GOMP_CPU_AFFINITY KMP_AFFINITY",
        tests=("tests/catalogue/test_speed.py::test_a_library_that_binds_to_one_core",),
        signs=(
            r"(?i)\ball (the )?workers\b.{0,40}\b(on|share|use) (one|the same|a single|only one) (core|cpu)",
            r"(?i)\baffinity mask\b|\bOMP_PROC_BIND\b|\bOPENBLAS_MAIN_FREE\b|\bGOMP_CPU_AFFINITY\b",
            "(?i)only (one|1|a single) (core|cpu) is (busy|used).{0,60}(after|since) import",
        ),
        codes=("PRC414",),
        sources=("numpy/numpy PR#4580", "scikit-learn/scikit-learn#11071", "OpenMathLib/OpenBLAS#905"),
        untested="An OpenBLAS that was built with affinity: GNU OpenMP with OMP_PROC_BIND stands for it.",
    ),
    Case(
        number="H7",
        name="py-function-gil-bound",
        reported=2,
        symptom="A `tf.data` pipeline with `from_generator`, `py_function` or `numpy_function` uses no more than one "
        "core, whatever `num_parallel_calls` says.",
        cause="What tf.data runs in parallel is C++; Python code in it runs in the training process, under its one "
        "GIL.",
        answers=("PREVENT",),
        here="`loader.to_tf()` is a tf.data.Dataset whose batches were made in worker processes; what runs under the "
        "GIL is handing over finished arrays, without a copy.",
        fix="dataset = procession.Loader(train_sequence, workers=4).to_tf()\nmodel.fit(dataset.prefetch(2))",
        tests=(
            "tests/catalogue/test_speed.py::test_python_in_tf_data",
            "tests/adapters/test_exports.py::test_tf_on_every_executor",
            "tests/adapters/test_exports.py::test_tf_takes_the_memory_as_it_is",
        ),
        signs=(
            r"(?i)\b(py_func\w*|numpy_function|from_generator)\b[^\0]{0,160}\b((one|single) core|GIL|in parallel)\b",
            r"(?i)\b(py_func(tion)?|numpy_function|from_generator)\b[^\0]{0,160}\bnum_parallel_calls\b",
            r"(?i)\bnum_parallel_calls\b[^\0]{0,160}\b(py_func(tion)?|numpy_function|from_generator)\b",
        ),
        codes=("PRC602",),
        sources=("tensorflow/tensorflow#10624", "tensorflow/tensorflow#15694", "tensorflow/tensorflow#14448"),
        untested="The speed: that the batches come from other processes is tested.",
    ),
)
