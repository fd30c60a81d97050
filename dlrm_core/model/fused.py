"""The DLRM's forward pass and gradients written out, on compiled CPU kernels and buffers that live as long as the model.

What is computed is what :meth:`Dlrm.forward` defines and autograd differentiates; tests hold the two together. Nothing is
allocated per step that is larger than a weight, so that no memory goes back to the kernel and comes again page by page.

Legend: B rows, N numerical features, T tables, F = T + 1 feature vectors, D embedding dimension, K width of the
interaction, I inputs of a layer, O its outputs.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dlrm_core.ops import cpu
from dlrm_core.ops.gemm import Gemm

if TYPE_CHECKING:
    from dlrm_core.model.dlrm import Dlrm

SMALL_BATCH = 16  # rows below which laying out the weights for bfloat16 products costs more than these save; measured


@dataclass(frozen=True)
class Gradients:
    """Of the mean loss of a batch.

    Attributes
    ----------
    loss : Tensor
        float32 scalar.
    mlps : tuple of Tensor
        float32, in the order of the model's ``parameters()``.
    embedding_BTD : Tensor
        Of the gathered vectors, in the dtype that was computed in.
    """

    loss: Tensor
    mlps: tuple[Tensor, ...]
    embedding_BTD: Tensor


class FusedDlrm:
    """Computes a model's logits and gradients, all of a batch at once, by all threads.

    Parameters
    ----------
    model : Dlrm
        With one tensor for all tables, dot interaction and no dropout.
    dtype : torch.float32 or torch.bfloat16
        Of activations and of the copies of the weights; sums within products, the weights themselves, the last layer, the
        loss and the tables are float32.
    route : str
        See :class:`dlrm_core.ops.gemm.Gemm`.

    Attributes
    ----------
    named : callable (str) -> context manager
        Entered around each part of the computation, with its name; whoever measures may put one here.
    """

    def __init__(self, model: "Dlrm", dtype: torch.dtype, route: str) -> None:
        self.dtype = dtype
        self._model = model
        self._gemm = Gemm(route)
        self._bottom = _Stack("bottom", model.bottom, dtype)
        self._top = _Stack("top", model.top[:-1], dtype)
        first = model.top[0]
        assert isinstance(first, nn.Linear)
        self._width = first.in_features
        self._small = None if dtype == torch.float32 else FusedDlrm(model, torch.float32, route)
        self._buffers: dict[tuple[str, int], Tensor] = {}
        self.named: Callable[[str], AbstractContextManager[object]] = unnamed

    def refresh(self) -> None:
        """Take over the model's weights, which somebody else changes."""
        self._bottom.refresh()
        self._top.refresh()

    @torch.no_grad()
    def logits(self, numerical_BN: Tensor, ids_BT: Tensor) -> Tensor:
        """Logits, float32 of shape (B,)."""
        if self._small is not None and len(ids_BT) < SMALL_BATCH:
            return self._small.logits(numerical_BN, ids_BT)
        return self._last(self._forward(numerical_BN, ids_BT)[-1])

    @torch.no_grad()
    def gradients(self, numerical_BN: Tensor, ids_BT: Tensor, label_B: Tensor) -> Gradients:
        """Loss and gradients of a batch. They lie in buffers that the next call fills anew."""
        with self.named("round the weights"):
            self.refresh()
        activations = self._forward(numerical_BN, ids_BT)
        split = len(self._bottom.layers) + 1
        bottom, top = activations[:split], activations[split:]
        with self.named("last layer and loss"):
            loss, last_gradients, gradient = self._loss(top[-1], label_B)
        with self.named("top MLP backward"):
            top_gradients, z_gradient_BK = self._backward(self._top, top, gradient)
        with self.named("interaction backward"):
            x_gradient_BFD = self._interaction_backward(z_gradient_BK)
        with self.named("bottom MLP backward"):
            first_BD = self._buffer("gradient of bottom", bottom[-1].shape)
            first_BD.copy_(x_gradient_BFD[:, 0])
            bottom_gradients, _ = self._backward(self._bottom, bottom, first_BD, to_input=False)
        return Gradients(loss, (*bottom_gradients, *top_gradients, *last_gradients), x_gradient_BFD[:, 1:])

    def _loss(self, x_BI: Tensor, label_B: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Mean loss; gradients of the last layer's weight and bias; that of its input."""
        logit_B = self._last(x_BI)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit_B, label_B)
        residual_B = (torch.sigmoid(logit_B) - label_B) / len(label_B)
        gradient_BI = self._buffer("gradient of top", x_BI.shape)
        torch.mul(residual_B[:, None], self._output_layer().weight, out=gradient_BI)
        return loss, (residual_B[None] @ x_BI.float(), residual_B.sum()[None]), gradient_BI

    def _forward(self, numerical_BN: Tensor, ids_BT: Tensor) -> list[Tensor]:
        """Inputs and outputs of the bottom's layers, then of the top's hidden ones."""
        embeddings = self._model.embeddings
        batch, num_features = len(ids_BT), ids_BT.shape[1] + 1
        x_BFD = self._buffer("x", (batch, num_features, embeddings.dim))
        with self.named("bottom MLP"):
            bottom = self._through(self._bottom, self._model.normalized(numerical_BN).to(self.dtype))
        with self.named("lookup"):
            x_BFD[:, 0].copy_(bottom[-1])
            (table_VD,) = embeddings.storage()
            cpu.lookup_(table_VD, embeddings.ids(ids_BT), embeddings.first_T, embeddings.last_T, x_BFD)
        with self.named("interaction"):
            gram_BFF = self._buffer("gram", (batch, num_features, num_features))
            torch.bmm(x_BFD, x_BFD.transpose(1, 2), out=gram_BFF)
            z_BK = self._buffer("z", (batch, self._width))
            cpu.pack_pairs(bottom[-1], gram_BFF, z_BK)
        with self.named("top MLP"):
            return bottom + self._through(self._top, z_BK)

    def _through(self, stack: "_Stack", x: Tensor) -> list[Tensor]:
        outputs = [x]
        for number, (weight_OI, bias_O) in enumerate(zip(stack.weights, stack.biases, strict=True)):
            output_BO = self._buffer(f"output {stack.name} {number}", (len(x), len(bias_O)))
            self._gemm.forward_(output_BO, outputs[-1], weight_OI)
            cpu.bias_relu_(output_BO, bias_O)
            outputs.append(output_BO)
        return outputs

    def _backward(
        self, stack: "_Stack", activations: Sequence[Tensor], gradient_BO: Tensor, *, to_input: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        """Gradients of the stack's weights and biases, and of its input, from that of its output, which is overwritten."""
        found: list[Tensor] = []
        for number in reversed(range(len(stack.weights))):
            bias_gradient = cpu.relu_backward_(gradient_BO, activations[number + 1])
            found = [self._gemm.weight_gradient(gradient_BO, activations[number]), bias_gradient, *found]
            if number or to_input:
                gradient_BI = self._buffer(f"gradient {stack.name} {number}", activations[number].shape)
                self._gemm.input_gradient_(gradient_BI, gradient_BO, stack.weights[number])
                gradient_BO = gradient_BI
        return found, gradient_BO

    def _interaction_backward(self, z_gradient_BK: Tensor) -> Tensor:
        x_BFD = self._buffer(
            "x", (len(z_gradient_BK), self._model.embeddings.rows_T.numel() + 1, self._model.embeddings.dim)
        )
        gram_BFF = self._buffer("gram", (*x_BFD.shape[:2], x_BFD.shape[1]))
        cpu.unpack_pairs(z_gradient_BK, gram_BFF, x_BFD.shape[2])
        gradient_BFD = self._buffer("gradient of x", x_BFD.shape)
        torch.bmm(gram_BFF, x_BFD, out=gradient_BFD)
        gradient_BFD[:, 0] += z_gradient_BK[:, : x_BFD.shape[2]]
        return gradient_BFD

    def _last(self, x_BI: Tensor) -> Tensor:
        layer = self._output_layer()
        return torch.addmv(layer.bias.expand(len(x_BI)), x_BI.float(), layer.weight[0])

    def _output_layer(self) -> nn.Linear:
        layer = self._model.top[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def _buffer(self, name: str, shape: Sequence[int]) -> Tensor:
        """Memory of that name, taken once and anew only where a batch is larger than any before it."""
        rows, width = shape[0], shape[1:]
        key = (name, len(width))
        held = self._buffers.get(key)
        if held is None or len(held) < rows:
            with torch.inference_mode(False):  # what is first needed to predict serves to train, too
                held = self._buffers[key] = torch.empty(rows, *width, dtype=self.dtype)
        return held[:rows]


def unnamed(_part: str) -> AbstractContextManager[object]:
    """Name no part; as long as nobody measures."""
    return nullcontext()


class _Stack:
    """Layers of one MLP, and their weights rounded to the dtype that is computed in."""

    def __init__(self, name: str, layers: nn.ModuleList, dtype: torch.dtype) -> None:
        self.name = name
        self.layers = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self._own = dtype != torch.float32
        self.weights: list[Tensor] = [layer.weight.detach() for layer in self.layers]
        self.biases: list[Tensor] = [layer.bias.detach() for layer in self.layers]
        if self._own and self.layers:
            self.weights = [weight.to(dtype) for weight in self.weights]

    def refresh(self) -> None:
        """Round the layers' weights anew; float32 ones are the layers' own."""
        if self._own and self.layers:
            for rounded, layer in zip(self.weights, self.layers, strict=True):
                rounded.copy_(layer.weight.detach())
