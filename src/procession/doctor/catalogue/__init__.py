"""The catalogue: failures that people have met when they read Keras data in parallel, each with its answer."""

from procession.doctor.catalogue.api import API
from procession.doctor.catalogue.case import Case
from procession.doctor.catalogue.closing import CLOSING
from procession.doctor.catalogue.data import DATA
from procession.doctor.catalogue.devices import DEVICES
from procession.doctor.catalogue.epochs import EPOCHS
from procession.doctor.catalogue.forks import FORKS
from procession.doctor.catalogue.hangs import HANGS
from procession.doctor.catalogue.items import ITEMS
from procession.doctor.catalogue.limits import LIMITS
from procession.doctor.catalogue.lives import LIVES
from procession.doctor.catalogue.memory import MEMORY
from procession.doctor.catalogue.processes import PROCESSES
from procession.doctor.catalogue.speed import SPEED
from procession.doctor.catalogue.starting import STARTING

CASES: tuple[Case, ...] = (
    *API,
    *EPOCHS,
    *ITEMS,
    *HANGS,
    *FORKS,
    *CLOSING,
    *STARTING,
    *PROCESSES,
    *DEVICES,
    *MEMORY,
    *LIMITS,
    *LIVES,
    *DATA,
    *SPEED,
)
