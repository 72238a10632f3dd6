"""Cases D: devices and backends."""

from procession.doctor.catalogue.case import Case

NO_GPU = "A GPU. What is tested is that the training process is not forked, and that workers see no GPU."

DEVICES: tuple[Case, ...] = (
    Case(
        number="D1",
        name="cuda-reinit-in-fork",
        reported=3,
        symptom="`RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you "
        "must use the 'spawn' start method`, out of multiprocessing/pool.py; or a segmentation fault. torch backend.",
        cause="A CUDA context does not outlive a fork. The model was on the GPU when the workers were forked, and the "
        "source touches a tensor that is, or asks for one.",
        answers=("PREVENT",),
        here="The training process is never forked, and workers see no GPU (CUDA_VISIBLE_DEVICES=-1, set before they "
        "import anything): torch in a worker computes on the CPU. Code that asks for `cuda` in __getitem__, and a "
        "tensor on the GPU that the source holds, get torch's own error, as on a machine without one.",
        fix="self.table = table.cpu()  # what the source holds\n"
        "return image.numpy()  # from __getitem__; fit moves batches to the device\n"
        "# a source that has to use the GPU is read by threads of the training process\n"
        'loader = procession.Loader(source, workers=4, executor="threads")\n'
        '# without Procession: multiprocessing.get_context("spawn"), or no device before the workers are forked',
        tests=(
            "tests/catalogue/test_starting.py::test_the_training_process_is_never_forked",
            "tests/catalogue/test_devices.py::test_workers_see_no_gpu_from_the_first_import_on",
            "tests/test_frameworks.py::test_a_framework_in_a_source",
        ),
        signs=(r"Cannot re-initialize CUDA in forked subprocess",),
        codes=("PRC402", "PRC401"),
        sources=("keras-team/keras-io#1838", "keras-team/keras#23554", "vllm-project/vllm#8893"),
        untested=NO_GPU,
    ),
    Case(
        number="D2",
        name="tf-cuda-not-initialized",
        reported=1,
        symptom="`Failed setting context: CUDA_ERROR_NOT_INITIALIZED: initialization error`, and workers that end with "
        "exit code -6 (SIGABRT). TensorFlow.",
        cause="An operation of TensorFlow runs on the GPU in a child that was forked after its parent had taken it.",
        answers=("PREVENT",),
        here="Workers are not forked from the training process and see no GPU: TensorFlow computes on the CPU there, "
        "with one thread.",
        fix="image = tf.image.adjust_hue(image, 0.1)  # in __getitem__: on the CPU, in any number of workers\n"
        "# without Procession: put it into the model, or use numpy and OpenCV in the source",
        tests=(
            "tests/catalogue/test_devices.py::test_workers_see_no_gpu_from_the_first_import_on",
            "tests/test_frameworks.py::test_a_framework_in_a_source",
            "tests/test_processes.py::test_what_a_worker_sees",
        ),
        signs=(r"CUDA_ERROR_NOT_INITIALIZED",),
        codes=("PRC402", "PRC401"),
        sources=("tensorflow/tensorflow#44137", "tensorflow/tensorflow#57877", "google/automl#855"),
        untested=NO_GPU,
    ),
    Case(
        number="D3",
        name="jax-fork",
        reported=2,
        symptom="`RuntimeWarning: os.fork() was called. os.fork() is incompatible with multithreaded code, and JAX is "
        "multithreaded, so this will likely lead to a deadlock.` Then training is stuck.",
        cause="JAX has threads of its own from its first operation on; a forked child waits for threads that it has "
        "not got. Keras forks its workers after the backend is up.",
        answers=("PREVENT",),
        here="Nothing is forked from the process that uses JAX. Workers may use it too: on the CPU "
        "(JAX_PLATFORMS=cpu), each with threads of its own.",
        fix="loader = procession.Loader(source, workers=4)  # the source may use jax.numpy\n"
        '# without Procession: numpy in the source, and multiprocessing.set_start_method("spawn")',
        tests=(
            "tests/catalogue/test_devices.py::test_jax_in_workers",
            "tests/test_frameworks.py::test_a_framework_in_a_source",
            "tests/test_frameworks.py::test_keras_in_a_source",
        ),
        signs=(r"os\.fork\(\) is incompatible with multithreaded code, and JAX is multithreaded",),
        codes=("PRC401",),
        sources=("keras-team/keras#20619", "keras-team/keras#18431", "jax-ml/jax#1805", "jax-ml/jax#9190"),
        untested="JAX on a GPU.",
    ),
    Case(
        number="D4",
        name="backend-tensors-from-worker",
        reported=1,
        symptom="`__getitem__` returns tensors (`keras.ops.zeros(…)`, torch, JAX): workers take memory of the device, "
        "run out of file descriptors (one for each torch tensor that is held), or hang, as the backend has it.",
        cause="A tensor needs its backend in every worker, and torch sends one as a descriptor of shared memory.",
        answers=("RECOVER", "DIAGNOSE"),
        here="Tensors become numpy arrays in the worker, before they travel: of torch, TensorFlow and JAX, dense, "
        "sparse and bfloat16. The backend computes on the CPU there. The doctor says once that numpy would save the "
        "import and the conversion.",
        fix="return np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32)  # numpy, with or without Procession",
        tests=(
            "tests/catalogue/test_devices.py::test_tensors_hold_no_descriptors_here",
            "tests/catalogue/test_devices.py::test_tensors_of_keras_arrive_as_arrays",
            "tests/test_streams.py::test_tensors_of_frameworks_arrive_as_numpy",
        ),
        signs=(
            r"(?i)__getitem__`? (returns?|yields?) [^.\n]{0,30}\b(tensors?\b|keras\.ops\.|torch\.|jnp\.|tf\.)",
            r"(?i)(dataset|source|sequence|generator) (returns?|yields?) [^.\n]{0,30}\btensors\b",
        ),
        codes=("PRC307", "PRC401"),
        sources=("keras-team/keras#20619", "keras-team/keras#20032", "pytorch/pytorch#11201"),
        untested="Tensors on a GPU: there is none in workers, and with threads they are brought to the CPU.",
    ),
    Case(
        number="D5",
        name="workers-take-gpu-memory",
        reported=1,
        symptom="`CUDA out of memory`, or a GPU on which nvidia-smi shows every worker, as soon as workers start; not "
        "without use_multiprocessing.",
        cause="Each process that initialises a framework on the GPU takes a context, and with TensorFlow most of the "
        "memory, for itself.",
        answers=("PREVENT",),
        here="CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES and ROCR_VISIBLE_DEVICES are -1 and JAX_PLATFORMS is cpu in "
        "the workers, and in the process that they come from, before anything of the user's is imported. The training "
        "process keeps what it has.",
        fix="loader = procession.Loader(source, workers=4)\n"
        "# without Procession, at the top of the dataset's module, for workers that are spawned:\n"
        "if multiprocessing.parent_process() is not None:\n"
        '    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"',
        tests=(
            "tests/catalogue/test_devices.py::test_workers_see_no_gpu_from_the_first_import_on",
            "tests/test_processes.py::test_what_a_worker_sees",
        ),
        signs=(
            r"(?i)CUDA out of memory[^\0]{0,300}\b(workers?|use_multiprocessing)\b",
            r"(?i)\bworkers?\b[^.\n]{0,60}\b(takes?|uses?|allocates?|reserves?)\b[^.\n]{0,40}\b(GPU|VRAM|CUDA)\b",
        ),
        codes=("PRC402",),
        sources=("keras-team/keras#13764", "tensorflow/tensorflow#47863", "NVIDIA-Merlin/NVTabular#1400"),
        untested=NO_GPU,
    ),
)
