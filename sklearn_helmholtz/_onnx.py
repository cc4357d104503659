"""An ONNX converter of `HelmholtzMachine.transform`, for skl2onnx.

skl2onnx is imported where it is used: it belongs to the extra ``onnx``.
"""

import numpy as np

from ._fitted import machine_of
from ._machine import HelmholtzMachine


def register_onnx_converter() -> None:
    """Teach skl2onnx to convert fitted machines, alone and in pipelines.

    The graph gives what :meth:`HelmholtzMachine.transform` gives, in the
    precision of its input: the recognition probabilities of the layers that
    `code` names. It takes any values: whether those of a Bernoulli machine lie
    in [0, 1] is not asked. Needs the extra ``onnx``.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    HelmholtzMachine.transform : What the graph computes.

    Examples
    --------
    >>> from sklearn_helmholtz import register_onnx_converter
    >>> register_onnx_converter()  # doctest: +SKIP
    >>> skl2onnx.to_onnx(pipeline, X[:1])  # doctest: +SKIP
    """
    from skl2onnx import update_registered_converter  # noqa: PLC0415

    update_registered_converter(
        HelmholtzMachine,
        "SklearnHelmholtzMachine",
        _shape,
        _convert,
        overwrite=True,
    )


def _shape(operator):
    """Set the output's type: rows of codes, in the input's precision."""
    from skl2onnx.common.data_types import (  # noqa: PLC0415
        DoubleTensorType,
        FloatTensorType,
    )

    kind = DoubleTensorType if _is_double(operator) else FloatTensorType
    n_rows = operator.inputs[0].type.shape[0]
    operator.outputs[0].type = kind([n_rows, operator.raw_operator._n_features_out])


def _is_double(operator):
    """Return whether an input is in double precision, and so the output."""
    from skl2onnx.common.data_types import DoubleTensorType  # noqa: PLC0415

    return any(isinstance(given.type, DoubleTensorType) for given in operator.inputs)


def _convert(scope, operator, container):
    """Add the nodes of a machine's recognition pass."""
    graph = _Graph(scope, container, np.float64 if _is_double(operator) else np.float32)
    estimator = operator.raw_operator
    gaussian = estimator.visible_ == "gaussian"
    machine = machine_of(estimator)
    x = graph.beside(operator.inputs, machine.dtype if gaussian else graph.dtype)
    if gaussian:
        # In double: far from 0 a difference from the mean takes all digits.
        x = graph.cast(x, np.float64)
        for step, moment in ("Sub", estimator.location_), ("Div", estimator.scale_):
            x = graph.node(step, x, graph.constant(moment, np.float64))
        x = graph.cast(x, graph.dtype)
    if estimator.visible_ == "bernoulli":
        x = graph.node("Clip", x, graph.constant(0), graph.constant(1))
    means = [x]
    for index, layer in enumerate(machine.recognition):
        logits = graph.linear(means[-1], layer)
        if machine.lateral:
            means.append(graph.means_in_turn(logits, machine.lateral[index]))
        else:
            means.append(graph.node("Sigmoid", logits))
    codes = [means[1 + i] for i in estimator._coded_layers()]
    graph.node("Concat", *codes, axis=1, outputs=[operator.outputs[0].full_name])


class _Graph:
    """Adds nodes under names of their own."""

    def __init__(self, scope, container, dtype):
        self.scope = scope
        self.container = container
        self.dtype = dtype

    def node(self, kind, *inputs, outputs=None, **attributes):
        """Add a node and return its output's name."""
        outputs = outputs or [self.scope.get_unique_variable_name(kind)]
        name = self.scope.get_unique_operator_name(kind)
        self.container.add_node(
            kind, list(inputs), outputs, name=name, op_version=13, **attributes
        )
        return outputs[0]

    def beside(self, inputs, dtype):
        """Return inputs side by side, in some precision: a frame has one a column."""
        parts = [self.cast(given.full_name, dtype) for given in inputs]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=1)

    def cast(self, name, dtype):
        """Return values in some precision, whatever theirs is."""
        return self.node("Cast", name, to=_kind(dtype))

    def constant(self, array, dtype=None):
        """Return the name of a constant tensor."""
        name = self.scope.get_unique_variable_name("constant")
        array = np.asarray(array, dtype=dtype or self.dtype)
        kind = _kind(array.dtype)
        self.container.add_initializer(name, kind, array.shape, array.ravel())
        return name

    def linear(self, parent, layer):
        """Return a layer's logits."""
        product = self.node("MatMul", parent, self.constant(layer.weights))
        return self.node("Add", product, self.constant(layer.bias))

    def means_in_turn(self, logits, lateral):
        """Return means where each unit sees the means of those before it."""
        logits = self.node("Add", logits, self.constant(lateral.bias))
        means = None
        for unit in range(len(lateral.bias)):
            column = self.constant([unit], dtype=np.int64)
            own = self.node("Gather", logits, column, axis=1)
            if means is None:
                means = self.node("Sigmoid", own)
                continue
            weights = self.constant(lateral.weights[:unit, unit : unit + 1])
            sent = self.node("MatMul", means, weights)
            mean = self.node("Sigmoid", self.node("Add", own, sent))
            means = self.node("Concat", means, mean, axis=1)
        return means


def _kind(dtype):
    """Return ONNX's number of a dtype."""
    from onnx.helper import np_dtype_to_tensor_dtype  # noqa: PLC0415

    return np_dtype_to_tensor_dtype(np.dtype(dtype))
