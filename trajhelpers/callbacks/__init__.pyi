from .of_accelerate import Accelerate as Accelerate
from .of_lightning import Lightning as Lightning
from .of_transformers import Trainer as Trainer
