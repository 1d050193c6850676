"""What can go wrong that a person can put right; every message says how."""


class ObservaError(Exception):
    """Base of every error whose message is written for the person who runs Observa."""


class UnsafeServerError(ObservaError):
    """The Redis server would lose or evict entries."""


class BrokerUnavailableError(ObservaError):
    """The Redis server cannot be reached or refuses us."""


class WrongKeyTypeError(ObservaError):
    """A key that Observa owns holds another type of value, written by someone else."""


class MalformedEntryError(ObservaError):
    """A stream entry cannot be read as the event its stream holds."""


class NewerSchemaError(ObservaError):
    """A stream entry was written by a newer version of Observa."""


class ModelRefusedError(ObservaError):
    """A model folder is missing, damaged or not what its manifest says."""


class SettingsError(ObservaError):
    """A setting is wrong or two settings contradict each other."""


class StoreError(ObservaError):
    """The model store cannot be reached, or refuses us."""


class DamagedFileError(ObservaError, OSError):
    """A file of the archive cannot be read, which the storage may have caused."""


class PointerMovedError(ObservaError):
    """Someone else changed which versions are wanted; nothing was changed by us."""


class LeaseTakenError(ObservaError):
    """Another process performs that duty now."""
