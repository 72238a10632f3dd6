"""Cases F: how processes live and end."""

from procession.doctor.catalogue.case import Case

LIVES: tuple[Case, ...] = (
    Case(
        number="F1",
        name="stale-pools-and-zombies",
        reported=2,
        symptom="`ps` shows more processes after each epoch, or children that are `<defunct>`; training does not end.",
        cause="A new pool is made in each epoch, for training and for validation, and is closed but not waited for.",
        answers=("PREVENT",),
        here=(
            "A Loader has the workers that it was asked for, plus one template for all Loaders of the program. They "
            "live as long as the Loader; who ends is collected at once by the template, and no other takes its place "
            "unless it died or was recycled."
        ),
        fix=(
            "train, validation = procession.Loader(data, workers=4), procession.Loader(held_out, workers=1)\n"
            "for epoch in range(100):\n"
            "    model.fit(train, validation_data=validation, initial_epoch=epoch, epochs=epoch + 1)\n"
            "# Without Procession: multiprocessing.active_children() collects those that have ended"
        ),
        tests=(
            "tests/catalogue/test_lives.py::test_workers_are_as_many_as_were_asked_for",
            "tests/test_processes.py::test_workers_persist_over_epochs",
            "tests/test_processes.py::test_many_loaders_one_after_another",
        ),
        signs=(
            r"<defunct>",
            r"(?i)\bzombies?\b",
            r"(?i)\b(number of )?(child )?processes\b.{0,30}(grow|increas|accumulat|pile|add up)",
        ),
        sources=(
            "keras-team/keras#8946",
            "keras-team/keras#11727",
            "keras-team/tf-keras#566",
        ),
    ),
    Case(
        number="F2",
        name="ctrl-c-mess",
        reported=2,
        symptom=(
            "Ctrl-C shows a traceback for each worker, perhaps `Fatal Python error: could not acquire lock for "
            "<_io.BufferedWriter name='<stderr>'> at interpreter shutdown`, and leaves processes behind."
        ),
        cause=(
            "The terminal sends SIGINT to all processes of the group, and each worker deals with it by itself while "
            "the training process takes things down."
        ),
        answers=("PREVENT",),
        here=(
            "The template and its workers are a session of their own, which the keys of the terminal do not reach. "
            "The training process raises one KeyboardInterrupt, also out of a `fit` that waits for a batch, with "
            "every backend; workers end with the Loader. If the exception is caught, the Loader goes on with its "
            "next epoch. SIGTERM and SIGHUP leave nothing behind either."
        ),
        fix=(
            "try:\n"
            "    model.fit(loader, epochs=100)\n"
            "except KeyboardInterrupt:\n"
            '    model.save("stopped.keras")\n'
            "# Without Procession, at the begin of each worker:\n"
            "#     signal.signal(signal.SIGINT, signal.SIG_IGN)"
        ),
        tests=(
            "tests/catalogue/test_lives.py::test_ctrl_c_shows_one_traceback",
            "tests/test_endings.py::test_ctrl_c_in_the_middle_of_an_epoch",
            "tests/test_endings.py::test_the_loader_goes_on_after_ctrl_c",
            "tests/adapters/test_interrupt.py::test_ctrl_c_ends_the_training",
            "tests/test_endings.py::test_a_notebook_kernel_is_restarted",
        ),
        signs=(
            r"could not acquire lock for <_io\.BufferedWriter name='<std(err|out)>'> at interpreter shutdown",
            r"(?s)Process \w+-\d+:.{0,4000}Process \w+-\d+:.{0,8000}KeyboardInterrupt",
            r"(?i)\b(ctrl ?[-+]? ?c|SIGINT|KeyboardInterrupt)\b.{0,60}(tracebacks|workers|children|processes)\b",
        ),
        sources=(
            "keras-team/keras#11126",
            "pytorch/pytorch#22924",
            "python/cpython#88628",
        ),
    ),
    Case(
        number="F3",
        name="orphans-after-parent-death",
        reported=2,
        symptom="The training process was killed (`kill -9`, a scheduler), and its workers go on and hold memory.",
        cause="Nobody tells them. What ends them otherwise runs at a normal exit of the parent.",
        answers=("PREVENT",),
        here=(
            "The template notices the end of the training process in any case, kills the workers, whatever they are "
            "doing, in native code too, and ends. Should it be killed itself, the kernel kills its workers "
            "(`PR_SET_PDEATHSIG`). Shared memory has no name, and goes with the last of them."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))  # nothing to do\n"
            "# Without Procession, to find them:  ps -o pid,args --ppid 1"
        ),
        tests=(
            "tests/catalogue/test_lives.py::test_workers_end_with_the_training_process",
            "tests/test_endings.py::test_the_training_process_is_killed",
            "tests/test_endings.py::test_a_worker_stuck_in_native_code_ends_with_the_training_process",
            "tests/test_run.py::test_nothing_is_left_when_the_script_is_killed",
        ),
        signs=(
            r"(?i)\borphan(s|ed)?\b",
            (
                r"(?i)\b(training|parent|main) process\b.{0,20} killed\b.{0,60}\bworkers?\b.{0,20}(go on|remain"
                r"|stay|live|hold)"
            ),
            (
                r"(?i)\bworkers?\b.{0,30}(keep running|go on|stay alive|remain|survive).{0,60}(parent|main"
                r"|training process)"
            ),
        ),
        sources=(
            "pytorch/pytorch#8805",
            "keras-team/keras#11126",
            "Oneflow-Inc/oneflow#7048",
        ),
        untested="Windows and macOS, where workers do not run yet.",
    ),
    Case(
        number="F4",
        name="worker-segfault-blind",
        reported=3,
        symptom=(
            "`RuntimeError: DataLoader worker (pid 26471) is killed by signal: Segmentation fault. Details are lost "
            "due to multiprocessing`: what crashed, and over which item, is not said."
        ),
        cause=(
            "Native code (a decoder, OpenCV) has crashed. The process is gone with all that it knew, and nobody has "
            "noted what it had in hand."
        ),
        answers=(
            "RECOVER",
            "DIAGNOSE",
        ),
        here=(
            "A worker notes each index before it begins. After a crash it is replaced and the item made again, "
            "`Faults.retries` times; then `WorkerDiedError` names index, worker and signal, and has the Python stack "
            'of the crash, or `on_error="skip"` leaves that item out.'
        ),
        fix=(
            'faults = procession.Faults(on_error="skip", retries=1)\n'
            "loader = procession.Loader(data, workers=4, faults=faults)\n"
            "model.fit(loader)\n"
            "print([(skip.name, skip.error) for skip in loader.statistics().skipped])\n"
            "# Without Procession: call data[i] for every i in a loop, under  python -X faulthandler"
        ),
        tests=(
            "tests/catalogue/test_lives.py::test_a_crash_is_survived_or_named",
            "tests/test_faults.py::test_a_crash_shows_the_stack",
            "tests/test_faults.py::test_a_poisonous_index_is_skipped",
        ),
        signs=(
            r"killed by signal: (Segmentation fault|Aborted|Illegal instruction|Floating point exception)",
            r"Unexpected segmentation fault encountered in worker",
            r"killed by SIG(SEGV|ABRT|ILL|FPE)\b",
            r"(?i)\bworkers?\b.{0,40}(segfault|segmentation fault)",
        ),
        codes=("PRC701",),
        sources=(
            "pytorch/pytorch#4969",
            "facebookresearch/SlowFast#442",
            "huggingface/pytorch-image-models#1269",
        ),
    ),
    Case(
        number="F5",
        name="pool-restart-cost-per-epoch",
        reported=3,
        symptom=(
            "Seconds or minutes pass at the start of each epoch until the first batch; what workers have cached is "
            "lost."
        ),
        cause="Workers are made and ended for each epoch, and where they are spawned each imports everything again.",
        answers=("PREVENT",),
        here=(
            "Workers are made with the first epoch and stay until the Loader is closed, together with what they have "
            "opened and cached. What the source imports is imported once, in the template that they are forked from; "
            "the next Loader of the program uses it too."
        ),
        fix=(
            "with procession.Loader(data, workers=4) as loader:\n"
            "    for epoch in range(100):\n"
            "        model.fit(loader, initial_epoch=epoch, epochs=epoch + 1)  # the same workers\n"
            "# In torch's DataLoader: persistent_workers=True. Keras itself has no such switch"
        ),
        tests=(
            "tests/catalogue/test_lives.py::test_what_workers_have_read_stays_over_epochs",
            "tests/test_processes.py::test_workers_persist_over_epochs",
            "tests/test_processes.py::test_one_template_serves_the_loaders_of_a_process",
        ),
        signs=(
            r"\bpersistent_workers\b",
            r"(?i)\b(seconds?|minutes?)\b.{0,40}\b(start|begin\w*) of (each|every)( new)? epoch",
            (
                r"(?i)\b(each|every) epoch\b.{0,40}\b(restarts?|re-?creates?|spawns?|starts) .{0,20}\b(workers?"
                r"|pool|processes)"
            ),
        ),
        sources=(
            "keras-team/keras#10474",
            "open-mmlab/mmhuman3d#233",
            "dmlc/dgl#6592",
        ),
    ),
)
