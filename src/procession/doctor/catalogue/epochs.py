"""Cases A7 to A10: where epochs begin and end."""

from procession.doctor.catalogue.case import Case

EPOCHS: tuple[Case, ...] = (
    Case(
        number="A7",
        name="steps-per-epoch-runs-out",
        reported=3,
        symptom=(
            "`UserWarning: Your input ran out of data; interrupting training. Make sure that your dataset or "
            "generator can generate at least steps_per_epoch * epochs batches`; or every other epoch has no step at "
            "all."
        ),
        cause=(
            "`steps_per_epoch` asks for more batches than the dataset has, or each epoch ends the stream of a "
            "dataset that was meant to go on (Keras 3.4)."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "An endless source (`num_batches` is None) goes on from epoch to epoch: each has all its steps, on every "
            "backend. Of one with a length, `fit` counts as with stock Keras: with fewer steps than batches the next "
            "epoch goes on where the last one stopped and ends with the data, so that no batch is left out; more "
            "steps than batches end early, with the warning above. Without `steps_per_epoch` an epoch is each batch "
            "once. `procession doctor` compares a `steps_per_epoch` that is written in the script with the length."
        ),
        fix=(
            "model.fit(procession.Loader(data), epochs=10)  # each batch once an epoch\n"
            "\n"
            "\n"
            "class Endless(Data):  # for epochs of any number of steps\n"
            "    num_batches = None\n"
            "\n"
            "    def __getitem__(self, i):\n"
            "        return super().__getitem__(i % len(self))\n"
            "\n"
            "\n"
            "model.fit(procession.Loader(Endless()), steps_per_epoch=100, epochs=10)"
        ),
        tests=(
            "tests/catalogue/test_api.py::test_steps_go_on_where_the_data_begin_again",
            "tests/adapters/test_behaviour.py::test_hooks_where_fit_counts_steps",
            "tests/test_streams.py::test_an_endless_source_goes_on",
        ),
        signs=(
            r"[Yy]our (input|dataset|dataset iterator|dataset or generator) ran out of data",
            r"can generate at least `?steps_per_epoch \* epochs`? batches",
            r"(?i)every (other|second) epoch (has|had|does) (0|no|zero) steps?",
        ),
        codes=("PRC314",),
        sources=(
            "keras-team/keras#20032",
            "tensorflow/tensorflow#25254",
            "keras-team/keras-io#285",
        ),
    ),
    Case(
        number="A8",
        name="on-epoch-begin-race",
        reported=0,
        symptom=(
            "Workers read the dataset before `on_epoch_begin` has finished: an `AttributeError` for what it sets, or "
            "no error and the state of the previous epoch."
        ),
        cause="Keras starts the pool first and calls the hook then; a forked worker never sees what the hook does.",
        answers=("PREVENT",),
        here=(
            "Hooks run in the training process, and what they changed is sent to every worker ahead of the epoch's "
            "first index. This holds for attributes of the source; what a hook changes on its class or in a module "
            "does not reach processes."
        ),
        fix=(
            "def on_epoch_begin(self):\n"
            "    self.order = draw(self.files)  # seen by all workers in this epoch\n"
            "\n"
            "\n"
            "model.fit(procession.Loader(data, workers=4))\n"
            "# Without Procession: do it in __init__ and on_epoch_end, with workers=0"
        ),
        tests=(
            "tests/catalogue/test_api.py::test_workers_see_what_on_epoch_begin_has_set",
            "tests/adapters/test_behaviour.py::test_hooks_are_called_once_an_epoch_and_seen_by_the_workers",
            "tests/test_streams.py::test_hooks_are_called_once_an_epoch_and_seen_by_every_worker",
        ),
        signs=(
            r"(?i)on_epoch_begin.{0,120}(too late|one epoch behind|previous epoch|not (yet )?(finished|run|set))",
            r"(?i)(previous|last) epoch\b.{0,60}on_epoch_begin",
            r"(?i)workers?.{0,30}before.{0,20}on_epoch_begin",
        ),
        codes=("PRC211",),
        sources=("keras-team/keras#23283",),
    ),
    Case(
        number="A9",
        name="on-epoch-end-missing-or-repeated",
        reported=2,
        symptom=(
            "`on_epoch_end` is not called, or is called several times an epoch; the data are shuffled never, or twice."
        ),
        cause=(
            "Whichever part of Keras reads the dataset calls the hook: not at all in some, once more for validation "
            "and for the look at the first batch in others."
        ),
        answers=("PREVENT",),
        here=(
            "Each epoch of a Loader calls `on_epoch_begin` and `on_epoch_end` once, in the training process; looks "
            "at a batch are no epochs. Training and validation are two Loaders with their own epochs: one object "
            "that is given to both has its hooks called for both."
        ),
        fix=(
            "train, validation = procession.Loader(data), procession.Loader(held_out)\n"
            "model.fit(train, validation_data=validation, epochs=10)\n"
            "# To shuffle, no hook is needed:\n"
            "train = procession.Loader(data, shuffle=True)"
        ),
        tests=(
            "tests/catalogue/test_api.py::test_hooks_are_called_once_an_epoch",
            "tests/adapters/test_behaviour.py::test_hooks_in_every_kind_of_epoch",
            "tests/adapters/test_behaviour.py::test_hooks_of_validation_data",
        ),
        signs=(
            r"(?i)on_epoch_end.{0,40}((is|was|gets) |n't )?(not|never|n't) (being |getting )?called",
            r"(?i)on_epoch_end.{0,40}(called|runs?|executed).{0,20}(twice|several|multiple|many|\d+) ?(times)?",
        ),
        sources=(
            "tensorflow/tensorflow#35911",
            "tensorflow/tensorflow#45962",
            "keras-team/keras#10166",
        ),
    ),
    Case(
        number="A10",
        name="epoch-state-stale-in-workers",
        reported=2,
        symptom=(
            "With workers that live on, `set_epoch()` or what `on_epoch_end` changes has no effect: each epoch has "
            "the same samples and augmentation."
        ),
        cause=(
            "A worker keeps the copy of the dataset that it was born with; an attribute that is set elsewhere is not "
            "its own."
        ),
        answers=(
            "PREVENT",
            "DIAGNOSE",
        ),
        here=(
            "Before each epoch, whatever was bound anew on the source (`source.epoch = 2`, by a hook, a callback or "
            "in between) is sent to the living workers. Not seen are changes made in place between epochs by "
            "something that is no hook, and changes of the class or of a module: `procession doctor` names those of "
            "hooks. A change that cannot be pickled raises a `CaptureError` with its path."
        ),
        fix=(
            "with procession.Loader(data, workers=4) as loader:\n"
            "    for epoch in range(10):\n"
            "        data.epoch = epoch  # is sent to the workers\n"
            "        for x, y in loader:\n"
            "            train_step(x, y)\n"
            "# In place, say it anew:  data.weights = data.weights.copy()\n"
            "# Random numbers need none of it: they differ in each epoch (procession.rng(), numpy.random, random)"
        ),
        tests=(
            "tests/catalogue/test_api.py::test_what_is_set_between_epochs_reaches_living_workers",
            "tests/test_streams.py::test_attributes_rebound_between_epochs_reach_the_workers",
            "tests/adapters/test_behaviour.py::test_what_a_callback_sets_before_an_epoch_is_for_that_epoch",
        ),
        signs=(
            r"(?i)\bset_epoch\b.{0,80}(no effect|ignored|not (seen|reach|propagat)|same|stale|persistent)",
            r"(?i)on_epoch_end.{0,80}(no effect|ignored|not (seen|reach|propagat)|stale)",
            r"(?i)(attribute|state|change)\w*.{0,60}(not|never) (seen|visible|reach\w*|propagat\w*).{0,30}\bworkers?",
        ),
        codes=(
            "PRC211",
            "PRC212",
        ),
        sources=(
            "huggingface/datasets#6673",
            "pytorch/pytorch#97326",
            "starVLA/starVLA#470",
        ),
    ),
)
