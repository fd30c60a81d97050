"""The compiled CPU kernels; :mod:`dlrm_core.ops.cpu` imports them on first use, since numba takes a while.

All of them are loops over rows of a batch or over tables that share nothing, so that no atomics are needed and the number
of threads changes no bit. bfloat16 comes as its bits, uint16: the upper half of a float32.

Legend: B rows of a batch, F feature vectors, T = F - 1 tables, D embedding dimension, K width of the interaction, V rows
of all tables, N width of a layer.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

HALF, ONE, SIXTEEN = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
MAGNITUDE, INFINITY, NAN = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint16(0x7FC0)
ZERO = np.float32(0)
AHEAD = 4  # occurrences; the next ones' rows are on their way while one is added


@intrinsic
def prefetch(typing, row_D, place):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba fixes the signature
    """Have the memory at ``row_D[place]`` brought near without waiting for it.

    Rows lie at random places, and a row's latency outlasts what a core looks ahead: measured, the lookup takes half the time.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), byte)
        builder.call(function, [address, number(0), number(3), number(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return numba.types.void(row_D, place), generate


@numba.njit(inline="always")
def prefetch_row(row_D):  # type: ignore[no-untyped-def]
    """Each cache line of a row, 64 bytes."""
    for d in range(0, row_D.shape[0], 64 // row_D.itemsize):
        prefetch(row_D, d)


@numba.njit(inline="always")
def rounded(bits):  # type: ignore[no-untyped-def]
    """The bits of the bfloat16 nearest to the float32 of these bits, ties to even."""
    near = np.uint16((bits + HALF + ((bits >> SIXTEEN) & ONE)) >> SIXTEEN)
    return NAN if (bits & MAGNITUDE) > INFINITY else near


@numba.njit(inline="always")
def row_of(table_VD, ids_BT, first_T, last_T, b, t):  # type: ignore[no-untyped-def]
    """The row of an id, or the table's first and 1 where the id lies outside; the next sample's is on its way meanwhile."""
    prefetch_row(table_VD[ids_BT[min(b + 1, ids_BT.shape[0] - 1), t] + first_T[t]])  # any address may be prefetched
    row = ids_BT[b, t] + first_T[t]
    outside = row < first_T[t] or row > last_T[t]
    return table_VD[first_T[t] if outside else row], np.int64(outside)


@numba.njit(parallel=True, nogil=True, cache=True)
def lookup(table_VD, ids_BT, first_T, last_T, x_BFD):  # type: ignore[no-untyped-def]
    """x[b, t + 1] = table[first[t] + ids[b, t]]; return the number of ids that lie outside their table."""
    wrong = 0
    for b in numba.prange(x_BFD.shape[0]):
        for t in range(ids_BT.shape[1]):
            source, outside = row_of(table_VD, ids_BT, first_T, last_T, b, t)
            wrong += outside
            target = x_BFD[b, t + 1]
            for d in range(target.shape[0]):
                target[d] = source[d]
    return wrong


@numba.njit(parallel=True, nogil=True, cache=True)
def lookup_rounded(table_VD, ids_BT, first_T, last_T, x_BFD):  # type: ignore[no-untyped-def]
    """As :func:`lookup`, from the bits of float32 (uint32) to those of bfloat16 (uint16)."""
    wrong = 0
    for b in numba.prange(x_BFD.shape[0]):
        for t in range(ids_BT.shape[1]):
            source, outside = row_of(table_VD, ids_BT, first_T, last_T, b, t)
            wrong += outside
            target = x_BFD[b, t + 1]
            for d in range(target.shape[0]):
                target[d] = rounded(source[d])
    return wrong


@numba.njit(parallel=True, nogil=True, cache=True)
def pack(first_BD, gram_BFF, z_BK):  # type: ignore[no-untyped-def]
    """Fill z with the first vector, the strict lower triangle row by row, zeros."""
    num_features, dim = gram_BFF.shape[1], first_BD.shape[1]
    for b in numba.prange(z_BK.shape[0]):
        source, gram, target = first_BD[b], gram_BFF[b], z_BK[b]
        for d in range(dim):
            target[d] = source[d]
        place = dim
        for i in range(1, num_features):
            for j in range(i):
                target[place + j] = gram[i, j]
            place += i
        for k in range(place, target.shape[0]):
            target[k] = 0


@numba.njit(parallel=True, nogil=True, cache=True)
def unpack(z_BK, gram_BFF, dim):  # type: ignore[no-untyped-def]
    """Fill gram with the symmetric matrix, zero on its diagonal, whose strict lower triangle stands in z after `dim` columns."""
    for b in numba.prange(gram_BFF.shape[0]):
        source, target = z_BK[b], gram_BFF[b]
        place = dim
        for i in range(target.shape[0]):
            target[i, i] = 0
            for j in range(i):
                value = source[place + j]
                target[i, j] = value
                target[j, i] = value
            place += i


@numba.njit(parallel=True, nogil=True, cache=True)
def add_rows(table_VD, ids_BT, first_T, order_T, update_BTD, alpha):  # type: ignore[no-untyped-def]
    """table[first[t] + ids[b, t]] += alpha * update[b, t], b after b; `order_T` says which table is begun first."""
    for k in numba.prange(order_T.shape[0]):
        t = order_T[k]
        for b in range(ids_BT.shape[0]):
            coming = min(b + AHEAD, ids_BT.shape[0] - 1)
            prefetch_row(table_VD[ids_BT[coming, t] + first_T[t]])
            prefetch_row(update_BTD[coming, t])
            row, change = table_VD[ids_BT[b, t] + first_T[t]], update_BTD[b, t]
            for d in range(row.shape[0]):
                row[d] += alpha * change[d]


@numba.njit(parallel=True, nogil=True, cache=True)
def add_rows_widened(table_VD, ids_BT, first_T, order_T, update_BTD, alpha):  # type: ignore[no-untyped-def]
    """As :func:`add_rows`, the updates being the bits of bfloat16 (uint16)."""
    for k in numba.prange(order_T.shape[0]):
        t = order_T[k]
        bits_D = np.empty(table_VD.shape[1], np.uint32)
        value_D = bits_D.view(np.float32)
        for b in range(ids_BT.shape[0]):
            coming = min(b + AHEAD, ids_BT.shape[0] - 1)
            prefetch_row(table_VD[ids_BT[coming, t] + first_T[t]])
            prefetch_row(update_BTD[coming, t])
            row, change = table_VD[ids_BT[b, t] + first_T[t]], update_BTD[b, t]
            for d in range(row.shape[0]):
                bits_D[d] = np.uint32(change[d]) << SIXTEEN
            for d in range(row.shape[0]):
                row[d] += alpha * value_D[d]


@numba.njit(parallel=True, nogil=True, cache=True)
def bias_relu(x_BN, bias_N):  # type: ignore[no-untyped-def]
    """Set x to the larger of x + bias and 0; what is not a number stays so."""
    for b in numba.prange(x_BN.shape[0]):
        row_N = x_BN[b]
        for n in range(row_N.shape[0]):
            value = row_N[n] + bias_N[n]
            row_N[n] = ZERO if value <= 0 else value


@numba.njit(parallel=True, nogil=True, cache=True)
def bias_relu_rounded(x_BN, bias_N, pieces):  # type: ignore[no-untyped-def]
    """As :func:`bias_relu`, on the bits of bfloat16 (uint16), the bias and the sum being float32."""
    rows = x_BN.shape[0]
    for p in numba.prange(pieces):
        bits_N = np.empty(bias_N.shape[0], np.uint32)
        value_N = bits_N.view(np.float32)
        for b in range(rows * p // pieces, rows * (p + 1) // pieces):
            row_N = x_BN[b]
            for n in range(row_N.shape[0]):
                bits_N[n] = np.uint32(row_N[n]) << SIXTEEN
            for n in range(row_N.shape[0]):
                value = value_N[n] + bias_N[n]
                value_N[n] = ZERO if value <= 0 else value
            for n in range(row_N.shape[0]):
                row_N[n] = rounded(bits_N[n])


@numba.njit(parallel=True, nogil=True, cache=True)
def mask_and_sum(gradient_BN, output_BN, sum_PN):  # type: ignore[no-untyped-def]
    """Set the gradient to 0 where the ReLU's output is 0; add it up by column, for each of P equal pieces of the rows."""
    rows, pieces = gradient_BN.shape[0], sum_PN.shape[0]
    for p in numba.prange(pieces):
        total_N = sum_PN[p]
        total_N[:] = 0
        for b in range(rows * p // pieces, rows * (p + 1) // pieces):
            gradient_N, output_N = gradient_BN[b], output_BN[b]
            for n in range(total_N.shape[0]):
                value = gradient_N[n] if output_N[n] > 0 else ZERO
                gradient_N[n] = value
                total_N[n] += value


@numba.njit(parallel=True, nogil=True, cache=True)
def mask_and_sum_widened(gradient_BN, output_BN, sum_PN):  # type: ignore[no-untyped-def]
    """As :func:`mask_and_sum`, from the bits of bfloat16: uint16 and int16, whose sign is the number's, and float32 sums."""
    rows, pieces = gradient_BN.shape[0], sum_PN.shape[0]
    for p in numba.prange(pieces):
        total_N = sum_PN[p]
        total_N[:] = 0
        bits_N = np.empty(total_N.shape[0], np.uint32)
        value_N = bits_N.view(np.float32)
        for b in range(rows * p // pieces, rows * (p + 1) // pieces):
            gradient_N, output_N = gradient_BN[b], output_BN[b]
            for n in range(total_N.shape[0]):
                value = gradient_N[n] if output_N[n] > 0 else np.uint16(0)
                gradient_N[n] = value
                bits_N[n] = np.uint32(value) << SIXTEEN
            for n in range(total_N.shape[0]):
                total_N[n] += value_N[n]
