"""Cases B11 to B15: who waits without end for a worker, a queue or an item."""

from procession.doctor.catalogue.case import Case

CLOSING: tuple[Case, ...] = (
    Case(
        number="B11",
        name="undrained-queue-join",
        reported=3,
        symptom="`join()` never returns although the worker has finished, as soon as results are larger than 64 KB.",
        cause=(
            "Who has put something on a `multiprocessing.Queue` waits at its end until a thread has written it to a "
            "pipe, which is full, since nobody reads it."
        ),
        answers=("PREVENT",),
        here=(
            "There are no such queues, and no threads that feed them. Batches lie in shared memory, messages are "
            "small packets that are sent whole or not at all. `close()` ends workers whatever is left unread."
        ),
        fix=(
            "with procession.Loader(data, workers=4) as loader:\n"
            "    for x, y in loader:\n"
            "        break  # the rest may stay where it is\n"
            "# Without Procession: queue.get() everything first, then process.join()"
        ),
        tests=(
            "tests/catalogue/test_closing.py::test_results_that_nobody_reads_hold_up_no_ending",
            "tests/engine/test_channel.py::test_closed_though_messages_were_never_read",
            "tests/test_endings.py::test_a_loader_that_is_dropped_ends_its_workers",
        ),
        signs=(
            r"in _finalize_join\b",
            r"(?i)\bjoin\(\)`? never returns.{0,40}worker has finished",
            r"(?i)\bjoin\b.{0,40}(never|hang|block|deadlock|for ?ever).{0,80}\b(queue|put)\b",
            r"(?i)\bqueue\b.{0,80}\bjoin\b.{0,30}(hang|never|block|deadlock)",
        ),
        sources=(
            "python/cpython#73983",
            "python/cpython#91594",
            "log2timeline/plaso#399",
        ),
    ),
    Case(
        number="B12",
        name="truncated-frame-blocks-timeout",
        reported=0,
        symptom=(
            "`queue.get(timeout=1)` or `get_nowait()` blocks without end after a worker was killed while it wrote a "
            "result."
        ),
        cause=(
            "The queue looks whether there is anything to read, and then reads all of it: half a message suffices "
            "for the first, and the second waits for the rest. Other writers keep the pipe open, so that its end is "
            "not seen either."
        ),
        answers=("PREVENT",),
        here=(
            "Each worker has a socket of its own, on which a message comes whole or not at all, and whose end is "
            "seen when the worker dies. A batch counts when the message about it has come: one that was half written "
            "to shared memory is made again."
        ),
        fix=(
            "model.fit(procession.Loader(data, workers=4))\n"
            "# Without Procession: one multiprocessing.Pipe for each worker, and its writing end nowhere else"
        ),
        tests=(
            "tests/catalogue/test_closing.py::test_a_half_written_result_blocks_nobody",
            "tests/engine/test_channel.py::test_the_end_of_a_process_closes_its_channel",
            "tests/test_faults.py::test_the_stream_is_that_of_serial",
        ),
        signs=(
            r"(?i)(\bget\(timeout ?=|get_nowait).{0,100}(block|hang|never returns|ignore)",
            r"(?i)\btimeout\b.{0,40}(is|was) (ignored|not honou?red|not respected).{0,60}\b(queue|get)\b",
        ),
        sources=("birdnet-team/birdnet#77",),
    ),
    Case(
        number="B13",
        name="shutdown-join-hang",
        reported=2,
        symptom="At the end of an epoch or of the program, everything waits in `_shutdown_workers` or `pool.join()`.",
        cause=(
            "Workers are asked to end, and waited for without limit; one that is stuck in an item, or has missed the "
            "request, never does."
        ),
        answers=("PREVENT",),
        here=(
            "`close()` closes the sockets, by which idle workers end, and kills what is left after a fraction of a "
            "second. It may be called twice, from another thread, by `with`, by garbage collection and when the "
            "program ends."
        ),
        fix=(
            "loader = procession.Loader(data, workers=4)\n"
            "for x, y in loader:\n"
            "    break\n"
            "loader.close()  # or `with`, or nothing at all\n"
            "# Without Procession: pool.terminate() instead of pool.close(); pool.join()"
        ),
        tests=(
            "tests/catalogue/test_closing.py::test_closing_does_not_wait_for_a_stuck_worker",
            "tests/test_endings.py::test_close_ends_workers_that_are_stuck",
            "tests/test_endings.py::test_close_from_another_thread_while_a_batch_is_awaited",
            "tests/test_endings.py::test_a_worker_stuck_in_native_code_ends_with_the_training_process",
        ),
        signs=(
            r"_shutdown_workers",
            r"(?i)(hang|stuck|freez|block)\w*.{0,60}\b(shut ?down|pool\.join|w\.join)\b",
        ),
        sources=(
            "pytorch/pytorch#39570",
            "pytorch/pytorch#26072",
            "pytorch/pytorch#21554",
        ),
    ),
    Case(
        number="B14",
        name="slow-or-stuck-sample",
        reported=2,
        symptom=(
            "The whole run waits for one item: a dead network drive, a decoder that loops. `RuntimeError: DataLoader "
            "timed out after 60 seconds` does not say which."
        ),
        cause="Batches are taken in order, and nobody looks how long one takes, or can end it.",
        answers=("RECOVER",),
        here=(
            "`Faults(timeout=60)`: a worker that takes longer over a batch is ended, its Python stack noted, and the "
            "batch made again, `retries` times. Then `StalledError` names index, worker and stack, or `on_error` "
            "decides, as about an exception. Without a limit, a warning on the logger `procession` says after 30 s "
            "what is waited for. A thread that takes too long is left alone and replaced; `workers=0` has no limit."
        ),
        fix=(
            'faults = procession.Faults(timeout=60, retries=1, on_error="skip")\n'
            "loader = procession.Loader(data, workers=4, faults=faults)\n"
            "model.fit(loader)\n"
            "print([skip.name for skip in loader.statistics().skipped])\n"
            "# If slow items are in order, let the others pass:  Loader(data, ordered=False)"
        ),
        tests=(
            "tests/catalogue/test_hangs.py::test_an_item_that_never_returns_is_ended",
            "tests/test_faults.py::test_a_worker_that_is_stuck_is_replaced",
            "tests/test_faults.py::test_a_batch_that_never_comes",
            "tests/test_faults.py::test_stuck_samples_are_skipped_in_threads_too",
        ),
        signs=(
            r"DataLoader timed out after \d+",
            r"\bStalledError\b",
            (
                r"(?i)\bone (item|sample|file|batch|image|index)\b.{0,40}(hang|stuck|never (returns|comes|ends)"
                r"|for ?ever)"
            ),
            r"(?i)\b(dead|stale) (NFS|mount|network|connection)",
        ),
        codes=("PRC702",),
        sources=(
            "pytorch/pytorch#2474",
            "pytorch/pytorch#33296",
            "pytorch/pytorch#96629",
        ),
    ),
    Case(
        number="B15",
        name="process-does-not-exit",
        reported=2,
        symptom=(
            "The script has printed its last line, or a traceback, and does not return to the shell; the memory of "
            "the GPU stays taken."
        ),
        cause=(
            "Threads that fetch ahead, and pools, are still at work, and Python waits for them when it ends. An "
            "iterator that was not read to its end is often the one that holds them."
        ),
        answers=("PREVENT",),
        here=(
            "An epoch may be left at any point, by `break` or an exception. Threads do not hold up the end of "
            "Python, workers end with the Loader, at the latest when the program does, and with its process even if "
            "that is killed."
        ),
        fix=(
            "for x, y in procession.Loader(data, workers=4):\n"
            "    if done(x):\n"
            "        break  # nothing to close\n"
            "# Without Procession: threading.Thread(..., daemon=True); pool.terminate() in a `finally`"
        ),
        tests=(
            "tests/catalogue/test_closing.py::test_a_script_that_fails_in_its_loop_ends",
            "tests/test_endings.py::test_the_script_ends_in_the_middle_of_an_epoch",
            "tests/test_endings.py::test_the_interpreter_exits_while_a_thread_waits_for_a_batch",
        ),
        signs=(
            (
                r"(?i)\b(script|process|program|python|interpreter)\b.{0,40}(does not|doesn't|never|will not"
                r"|won't) (exit|terminate|end\b|finish|return to)"
            ),
            r"(?i)\b(script|process|program)\b.{0,60}\bdoes not return to the (shell|prompt)",
            r"(?i)(hang|stuck|freez)\w*.{0,30}\b(at|on|before|after) (interpreter |python |process )?exit\b",
        ),
        sources=(
            "keras-team/keras#11288",
            "keras-team/keras#9727",
            "google/grain#1196",
        ),
    ),
)
