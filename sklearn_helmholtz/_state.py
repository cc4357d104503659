"""The state of training: all that it changes."""

import copy

import numpy as np

from ._belief_network import Machine

NETWORKS = Machine._fields

#: Logits and standardised means never come near this unless training diverges.
_LARGEST_PARAMETER = 1e10


class TrainingState:
    """All that training changes: a copy of it goes on exactly as it would have.

    Parameters
    ----------
    machine : Machine
        The parameters; changed in place.

    memory : dict of str to list of dict, or None
        The optimiser's memory by network and layer; None in a copy that was
        made without it.

    averages : dict of str to list, or None
        The direction's running averages by network and layer.

    scales : dict of str to list of ndarray
        What has been learned of the weights' priors, see :mod:`._penalties`.

    generators : list of numpy.random.Generator
        One for the order of rows, then one a lane.

    n_steps : int, default=0
        Minibatches seen.
    """

    def __init__(self, machine, memory, averages, scales, generators, n_steps=0):
        self.machine = machine
        self.memory = memory
        self.averages = averages
        self.scales = scales
        self.generators = generators
        self.n_steps = n_steps

    def copy(self):
        """Return an independent copy with writeable arrays."""
        return copy.deepcopy(self)

    def without_memory(self):
        """Return an independent copy that lacks the optimiser's memory."""
        found = copy.copy(self)
        found.memory = None
        return found.copy()

    def take(self, other):
        """Become a copy of another state, but for the optimiser's memory.

        The parameters are copied into the arrays that are there.
        """
        arrays = zip(self.machine.arrays(), other.machine.arrays(), strict=True)
        for mine, theirs in arrays:
            np.copyto(mine, theirs)
        self.averages = copy.deepcopy(other.averages)
        self.scales = copy.deepcopy(other.scales)
        self.generators = copy.deepcopy(other.generators)
        self.n_steps = other.n_steps

    def is_sound(self):
        """Return whether all parameters are finite and of a sensible size."""
        # A comparison with NaN is false.
        return all(
            array.min() > -_LARGEST_PARAMETER and array.max() < _LARGEST_PARAMETER
            for array in self.machine.arrays()
            if array.size
        )
