"""What a pass leaves behind, an n × n matrix a parameter group: of a trajectory, of a set."""

from .load import load_kernel as load_kernel
from .models import ModelSetKernel as ModelSetKernel
from .points import clipped_cosine as clipped_cosine
from .sampled import with_error as with_error
from .trajectory import TrajectoryKernel as TrajectoryKernel
