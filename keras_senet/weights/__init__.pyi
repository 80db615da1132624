# The names of this room. `__init__.py` reads this file.

from .catalogue import Preprocessing as Preprocessing
from .catalogue import default_weights as default_weights
from .catalogue import find_preset as find_preset
from .catalogue import list_weights as list_weights
from .checkpoint import Checkpoint as Checkpoint
from .opening import find_host as find_host
from .opening import open_checkpoint as open_checkpoint
from .opening import read_checkpoint as read_checkpoint
from .presets import Accuracy as Accuracy
from .presets import File as File
from .presets import Host as Host
from .presets import Preset as Preset
from .saving import in_memory as in_memory
from .saving import network_card as network_card
from .saving import save_model as save_model
from .saving import save_weights as save_weights
