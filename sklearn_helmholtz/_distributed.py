"""One model on many workers: synchronous data-parallel training through Dask.

A step's sums are additive over rows. So each block of rows gives its own sums,
where it lies; they are added up in a tree whose shape depends on the number of
blocks alone; and the optimiser's step is taken by the caller. A block's draws
are a function of (seed, epoch, step, block), and all that a task needs is in
its arguments: a task that is run again, as its worker died, gives the same.

Dask is never imported: its client and arrays arrive as arguments. A little longer than
most modules here, as what workers run belongs beside what calls it.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from ._atomic import AllOrNothing
from ._checkpoint import untied
from ._data import even_part
from ._fitted import attributes, machine_of
from ._fitting import UNDONE, Fitting, spread
from ._learning_rules import Lane
from ._optimizers import SCHEDULES
from ._parallel import quiet, workers
from ._penalties import measure, pooled
from ._state import TrainingState
from ._training import n_minibatches


class Sums(NamedTuple):
    """What blocks of a minibatch have to say, added up.

    Parameters
    ----------
    gradients : dict of (str, int) to Gradient
        By network and layer; weighted sums over the rows, and the mean parents
        times the number of rows.

    squares : ndarray of shape (n_features,) or 0
        Weighted squared residuals.

    n_rows : int
    """

    gradients: dict
    squares: np.ndarray | float
    n_rows: int


def fit_distributed(machine, X, client) -> Any:
    """Fit a machine to rows that lie on many workers, all of them at every step.

    A minibatch of about `batch_size` rows takes the same part of every block of `X`, a
    row of each on average at the least. The weights are those that one computer would
    get from the joint minibatches, to rounding, with the same draws; they depend on the
    number of blocks, but not on the number of workers, nor on workers that die on
    the way. Up to 1,000 rows, spread over all blocks, choose the visible units and, for
    Gaussian ones, location and scale.

    Parameters
    ----------
    machine : HelmholtzMachine
        It is fitted anew. `tol`, `early_stopping`, `warm_start`, `n_jobs`, `verbose`
        and callbacks are not in use here.

    X : dask.array.Array of shape (n_samples, n_features)
        Training data, in blocks of whole rows, dense or CSR.

    client : dask.distributed.Client
        Where the blocks are, or will be, computed.

    Returns
    -------
    machine : HelmholtzMachine
        The same, fitted.

    Raises
    ------
    TypeError
        If `machine` is no HelmholtzMachine, or `X` no Dask array.

    ValueError
        If `X` is not in blocks of whole rows of known number, is not finite, or
        lies outside [0, 1] with Bernoulli units; if the parameters diverge.

    See Also
    --------
    HelmholtzMachine.partial_fit : One computer, a block of rows at a time.

    Examples
    --------
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> with Client() as client:  # doctest: +SKIP
    ...     fit_distributed(HelmholtzMachine(random_state=0), X, client)
    """
    if not isinstance(machine, Fitting):
        kind = type(machine).__name__
        raise TypeError(f"machine must be a HelmholtzMachine, got {kind}.")
    machine._validate_params()  # type: ignore[attr-defined]
    _check(X)
    every = zip(X.to_delayed().ravel().tolist(), X.chunks[0], strict=True)
    filled = [(block, size) for block, size in every if size]
    if not filled:
        raise ValueError("X has 0 sample(s), while a minimum of 1 is required.")
    blocks, sizes = zip(*filled, strict=True)
    with AllOrNothing(machine), quiet():
        _fit(machine, client.compute(list(blocks)), sizes, client)
    return machine


def _check(X):
    """Raise if X is no Dask array that can be learned from."""
    if not (hasattr(X, "chunks") and hasattr(X, "to_delayed")):
        raise TypeError(
            f"X must be a dask.array.Array, got {type(X).__name__}. A data frame of "
            "Dask has to_dask_array(lengths=True); for arrays of NumPy, use fit."
        )
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, got {X.ndim}.")
    if len(X.chunks[1]) > 1:
        raise ValueError("X must be in blocks of whole rows: X.rechunk({1: -1}).")
    if np.isnan(X.chunks[0]).any():
        raise ValueError(
            "X has blocks of unknown numbers of rows: X.compute_chunk_sizes()."
        )


def _fit(machine, blocks, sizes, client):
    """Fit to blocks, futures of arrays of these numbers of rows."""
    machine._check_parameters()
    n_rows, places = sum(sizes), _spread_over(sizes)
    first = machine._validate(_rows_of(blocks, places, client), reset=True)
    with workers(1):
        state = machine._begin(first)
    seed = int(state.generators[0].integers(2**31))
    step = machine._step(state, machine._in_units(first), n_rows=n_rows)
    batch_size = max(machine._number("batch_size"), len(blocks))
    n_steps = n_minibatches(n_rows, batch_size)
    initial = machine._rate(n_rows)
    schedule = SCHEDULES[machine.learning_rate_schedule]
    n_epochs = machine._n_epochs(n_rows)
    for epoch in range(n_epochs):
        if step.penalty.learns and epoch:
            futures = _of_some_rows(_measured, machine, state, blocks, places, client)
            moments = _tree(client, futures, pooled).result()
            step.penalty.learn(state.machine, moments, epoch / n_epochs)
        for number in range(n_steps):
            parts = [even_part(size, number, n_steps) for size in sizes]
            key = seed, epoch, number
            sums = _minibatch(machine, state, blocks, parts, key, client, n_rows)
            done = (epoch + number / n_steps) / n_epochs
            _learn(step, sums, initial * schedule(done, epoch))
        machine._publish(attributes(state))
        _append_free_energy(machine, state, blocks, places, client)
    machine.n_iter_ = n_epochs


def _spread_over(sizes):
    """Return up to 1,000 positions spread over blocks of these sizes, by block."""
    stops = np.cumsum(sizes)
    positions = spread(stops[-1])
    parts = np.split(positions, np.searchsorted(positions, stops[:-1]))
    return [
        part - stop + size for part, stop, size in zip(parts, stops, sizes, strict=True)
    ]


def _rows_of(blocks, places, client):
    """Return the rows of blocks at some places, one block after another."""
    parts = client.gather(_submit(_taken, (), blocks, places, client))
    return sp.vstack(parts, "csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def _submit(function, given, blocks, places, client):
    """Return the futures of a function of what is given, a block, and places in it."""
    return [
        client.submit(function, *given, X, place, pure=False)
        for X, place in zip(blocks, places, strict=True)
        if len(place)
    ]


def _taken(X, place):
    return X[place]


def _minibatch(machine, state, blocks, parts, key, client, n_rows):
    """Return the :class:`Sums` over parts of blocks, some of which may be empty.

    Parameters
    ----------
    machine : HelmholtzMachine
    state : TrainingState
    blocks : list of Future
    parts : list of slice
    key : tuple of int
        Seed, epoch, number of the step.

    client : dask.distributed.Client

    n_rows : int
        Rows of all blocks.
    """
    present = client.submit(_same, _present(machine, state), pure=False)
    futures = [
        client.submit(
            block_sums, present, block, part, (*key, number), n_rows, pure=False
        )
        for number, (block, part) in enumerate(zip(blocks, parts, strict=True))
        if part.start < part.stop
    ]
    return _tree(client, futures).result()


def _present(machine, state):
    """Return the machine with what a worker needs of the present parameters."""
    shell = untied(machine)
    vars(shell).pop("_unfinished", None)  # of an earlier fit
    vars(shell).update(attributes(state))
    vars(shell).update(_memory={}, _generators=[], free_energy_curve_=[])
    return shell


def _same(value):
    return value


def block_sums(machine, X, part, key, n_rows):
    """Return the :class:`Sums` of some rows of a block.

    Parameters
    ----------
    machine : HelmholtzMachine
        With the present parameters.

    X : ndarray of shape (n_rows, n_features)
        The block.

    part : slice
        Which rows, after the epoch's shuffle.

    key : tuple of int
        Seed, epoch, number of the step, number of the block.

    n_rows : int
        Rows of all blocks.
    """
    seed, epoch, number, block = key
    order = np.arange(X.shape[0])
    if machine.shuffle:
        order = _generator((seed, 0, epoch, block)).permutation(X.shape[0])
    rows = machine._validate(X[order[part]], reset=False)
    n_part = rows.n_rows
    generators = [None, _generator((seed, 1, epoch, number, block))]
    state = TrainingState(
        machine_of(machine), {}, machine._averages, machine._scales, generators
    )
    step = machine._step(state, machine._in_units(rows), n_rows=n_rows)
    whole = slice(0, n_part)
    lane = Lane((("wake", whole), ("sleep", whole)), ())
    with workers(1):
        squares = step.collect(0, lane, whole, rate=1.0)
    return _scaled(Sums(step.touched[0], squares, n_part), n_part)


def _generator(key):
    # Keys of other lengths must differ before their ends: zeros there are lost.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))


@quiet()
def _scaled(sums, factor):
    """Return the sums times a factor, but for the number of rows."""
    gradients = {
        key: found.map(lambda array: factor * array)
        for key, found in sums.gradients.items()
    }
    return Sums(gradients, factor * sums.squares, sums.n_rows)


@quiet()
def _add(first, second):
    """Return the sums over the rows of both."""
    gradients = {
        key: found.map(np.add, second.gradients[key])
        for key, found in first.gradients.items()
    }
    squares = first.squares + second.squares
    return Sums(gradients, squares, first.n_rows + second.n_rows)


def _tree(client, futures, add=_add):
    """Return the future of the sums of all, added in pairs."""
    while len(futures) > 1:
        odd = futures[len(futures) & ~1 :]
        pairs = zip(futures[0::2], futures[1::2], strict=False)
        futures = [client.submit(add, *pair, pure=False) for pair in pairs] + odd
    return futures[0]


def _learn(step, sums, rate):
    """Take the step that the sums over a minibatch ask for."""
    mean = _scaled(sums, 1 / sums.n_rows)
    step.touched[0] = mean.gradients
    step.update(mean.squares, rate)


def _append_free_energy(machine, state, blocks, places, client):
    """Append the free energy over the rows of blocks at some places to the curve."""
    if not state.is_sound():
        raise ValueError(UNDONE)
    futures = _of_some_rows(_energies, machine, state, blocks, places, client)
    energy = -float(np.concatenate(client.gather(futures)).mean())
    machine.free_energy_curve_ = [*machine.free_energy_curve_, energy]


def _of_some_rows(function, machine, state, blocks, places, client):
    """Return the futures of a function of the present machine and rows of blocks."""
    present = client.submit(_same, _present(machine, state), pure=False)
    return _submit(function, (present,), blocks, places, client)


def _energies(machine, X, place):
    # By one particle, as fit's curve is.
    return machine.set_params(n_jobs=1, n_score_samples=1).score_samples(X[place])


def _measured(machine, X, place):
    rows = machine._in_units(machine._validate(X[place], reset=False))
    with workers(1):
        return measure(machine_of(machine), rows.take(slice(0, rows.n_rows)))
