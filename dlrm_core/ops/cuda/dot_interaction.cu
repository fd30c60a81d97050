// Pairwise dot interaction, forward and backward: one warp for one sample at a time, several warps a block.
//
// x, B x F x D, is contiguous, and so is z, B x K. A row of z holds x_0 (D numbers, as they are), the products x_i.x_j
// of the pairs i > j at D + i (i - 1) / 2 + j, and zeros. Going back, dx = G x, with x_0's gradient added to its first
// row; G is symmetric, its diagonal is zero, and G[i][j] is the gradient of the pair's product.
//
// A warp's shared memory, `warp_bytes` of it, holds:
//   rows    F + 1 rows of `row_bytes`: the sample, and a row of zeros that stands for all rows from F on
//   z       one row of z, padded to 16 bytes
//   (fma)   G in float, F x round_up(F, 8); backward only
// `row_bytes` is D numbers rounded up to 32 bytes (one step of the tensor cores), plus a skew that spreads the rows
// over the banks. The host gives both: dlrm_core/ops/cuda/geometry.py.
//
// Names: lane = 4 g + t, as the fragments of mma.sync count them. No header is needed, so that NVRTC alone compiles this.

typedef unsigned int Word;
typedef unsigned short Half;
typedef long long Index;

struct Sizes {
    Index batch;
    int features, dim, width;   // F, D, K
    int row_bytes, warp_bytes;  // in shared memory
    int x_vector, z_vector;     // whether rows of x (and dx), and of z, can be moved 16 bytes at a time
};

enum {
    ROW_LANES = 16,  // ldmatrix and mma.sync take 16 rows
    STEP = 32,       // bytes of these rows
    CHUNK = 32,      // numbers that the fma kernels sum on their own, so that errors grow slower
};

__device__ __forceinline__ int lane_id() { return threadIdx.x % 32; }
__device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }
__device__ __forceinline__ int pair_place(int i, int j) { return i > j ? i * (i - 1) / 2 + j : j * (j - 1) / 2 + i; }

// The types. `Bits` is how a number lies in memory; `depth` how many of a row fill one step of the tensor cores.

struct F16 {
    typedef Half Bits;
    enum { depth = 16 };
    static __device__ __forceinline__ float widen(Half bits) {
        float number;
        asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
        return number;
    }
    static __device__ __forceinline__ Half narrow(float number) {
        Half bits;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number));
        return bits;
    }
    static __device__ __forceinline__ void round(Word&) {}
    static __device__ __forceinline__ void multiply(float (&c)[4], const Word (&a)[4], Word b0, Word b1) {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else  // Turing has half the depth; the fragments of its two steps are those of one, side by side
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b0));
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
    }
};

struct Bf16 {
    typedef Half Bits;
    enum { depth = 16 };
    static __device__ __forceinline__ float widen(Half bits) { return __uint_as_float((Word)bits << 16); }
    static __device__ __forceinline__ Half narrow(float number) {
#if __CUDA_ARCH__ >= 800
        Half bits;
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(number));
        return bits;
#else
        const Word word = __float_as_uint(number);
        if ((word & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // not a number: rounding must not make it infinite
        return (Half)((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
#endif
    }
    static __device__ __forceinline__ void round(Word&) {}
#if __CUDA_ARCH__ >= 800
    static __device__ __forceinline__ void multiply(float (&c)[4], const Word (&a)[4], Word b0, Word b1) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
#endif
};

struct F32 {
    typedef Word Bits;
    enum { depth = 8 };
    static __device__ __forceinline__ float widen(Word bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ Word narrow(float number) { return __float_as_uint(number); }
#if __CUDA_ARCH__ >= 800  // TF32, in the tensor cores alone
    static __device__ __forceinline__ void round(Word& bits) {  // mma.sync would cut the low bits off
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(__uint_as_float(bits)));
    }
    static __device__ __forceinline__ void multiply(float (&c)[4], const Word (&a)[4], Word b0, Word b1) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
#endif
};

// Between global and shared memory, one after the other by the lanes of a warp.

template <typename Unit> __device__ __forceinline__ void fetch(unsigned char* shared, const Unit* global) {
    *reinterpret_cast<Unit*>(shared) = *global;
}

#if __CUDA_ARCH__ >= 800
template <> __device__ __forceinline__ void fetch<uint4>(unsigned char* shared, const uint4* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 :: "r"((Word)__cvta_generic_to_shared(shared)), "l"(__cvta_generic_to_global(global)) : "memory");
}
#endif

// All lanes' copies are there, and every lane sees them.
__device__ __forceinline__ void arrived() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncwarp();
}

template <bool STORE, typename Unit>
__device__ __forceinline__ void move_rows(Unit* global, unsigned char* shared, int rows, int units, int row_bytes) {
    int row = lane_id() / units, column = lane_id() % units;
    const int rows_on = 32 / units, columns_on = 32 % units;
#pragma unroll 4
    for (int place = lane_id(); place < rows * units; place += 32) {
        unsigned char* beside = shared + row * row_bytes + column * (int)sizeof(Unit);
        if (STORE) global[place] = *reinterpret_cast<Unit*>(beside);
        else fetch<Unit>(beside, global + place);
        row += rows_on, column += columns_on;
        if (column >= units) column -= units, ++row;
    }
}

template <typename T, bool STORE>
__device__ __forceinline__ void move(typename T::Bits* global, unsigned char* shared, int rows, int numbers,
                                     int row_bytes, int vector) {
    const int size = sizeof(typename T::Bits);
    if (vector) move_rows<STORE>(reinterpret_cast<uint4*>(global), shared, rows, numbers * size / 16, row_bytes);
    else move_rows<STORE>(global, shared, rows, numbers, row_bytes);
}

template <typename T>
__device__ __forceinline__ void load(const typename T::Bits* global, unsigned char* shared, int rows, int numbers,
                                     int row_bytes, int vector) {
    move<T, false>(const_cast<typename T::Bits*>(global), shared, rows, numbers, row_bytes, vector);
}

__device__ __forceinline__ void clear(unsigned char* shared, int bytes) {
    for (int place = lane_id() * 16; place < bytes; place += 32 * 16)
        *reinterpret_cast<uint4*>(shared + place) = make_uint4(0, 0, 0, 0);
}

// Where a warp's part of shared memory begins, and which sample is its first.
struct Warp {
    unsigned char *rows, *z;
    Index sample, samples_on;
    __device__ __forceinline__ explicit Warp(const Sizes& sizes) {
        extern __shared__ __align__(16) unsigned char memory[];
        const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
        rows = memory + warp * sizes.warp_bytes;
        z = rows + (sizes.features + 1) * sizes.row_bytes;
        sample = (Index)blockIdx.x * warps + warp;
        samples_on = (Index)gridDim.x * warps;
        clear(rows, (sizes.features + 1) * sizes.row_bytes);  // row F, and what stands behind D in each row, stay zero
        __syncwarp();
    }
};

// Tensor cores. TILES: rows of x in sixteens.

template <typename T, int TILES> struct Tensor {
    typedef typename T::Bits Bits;

    // Fragment `a` of 16 rows from `first`, one step of their numbers: rows g and g + 8 (a0, a1), and the same in the
    // step's second half (a2, a3). For the transpose as second factor, {a0, a2} is eight rows' fragment and {a1, a3}
    // that of the eight others.
    static __device__ __forceinline__ void read_rows(Word (&a)[4], const unsigned char* rows, int first, int step,
                                                     const Sizes& sizes) {
        const int row = smaller(first + lane_id() % 16, sizes.features);
        const unsigned char* place = rows + row * sizes.row_bytes + lane_id() / 16 * 16 + step;
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                     : "r"((Word)__cvta_generic_to_shared(place)) : "memory");
#pragma unroll
        for (int v = 0; v < 4; ++v) T::round(a[v]);
    }

    // Row tile r needs the 2 (r + 1) column tiles of eight up to its own: r (r + 1) of them stand before.
    static __device__ __forceinline__ void pairs(const unsigned char* rows, Bits* z, const Sizes& sizes) {
        float sum[TILES * (TILES + 1)][4] = {};
        const int end = round_up(sizes.dim * (int)sizeof(Bits), STEP);
#pragma unroll 2
        for (int step = 0; step < end; step += STEP) {
            Word a[TILES][4];
#pragma unroll
            for (int r = 0; r < TILES; ++r) read_rows(a[r], rows, ROW_LANES * r, step, sizes);
#pragma unroll
            for (int r = 0; r < TILES; ++r)
#pragma unroll
                for (int c = 0; c < 2 * (r + 1); ++c)
                    T::multiply(sum[r * (r + 1) + c], a[r], a[c / 2][c % 2], a[c / 2][2 + c % 2]);
        }
        const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
        for (int r = 0; r < TILES; ++r)
#pragma unroll
            for (int c = 0; c < 2 * (r + 1); ++c)
#pragma unroll
                for (int v = 0; v < 4; ++v) {
                    const int i = ROW_LANES * r + g + 8 * (v / 2), j = 8 * c + 2 * t + v % 2;
                    if (j < i && i < sizes.features) z[sizes.dim + pair_place(i, j)] = T::narrow(sum[r * (r + 1) + c][v]);
                }
    }

    static __device__ __forceinline__ Word pair_gradient(const Bits* z, int i, int j, const Sizes& sizes) {
        if (i == j || i >= sizes.features || j >= sizes.features) return 0;
        return z[sizes.dim + pair_place(i, j)];
    }

    // Fragment `a` of G: 16 rows from `i`, T::depth columns from `j`.
    static __device__ __forceinline__ void read_gradients(Word (&a)[4], const Bits* z, int i, int j, const Sizes& sizes) {
        const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
        for (int v = 0; v < 4; ++v) {
            const int row = i + g + 8 * (v % 2);
            if (sizeof(Bits) == 2) {
                const int column = j + 2 * t + 8 * (v / 2);
                a[v] = pair_gradient(z, row, column, sizes) | pair_gradient(z, row, column + 1, sizes) << 16;
            } else {
                a[v] = pair_gradient(z, row, j + t + 4 * (v / 2), sizes);
                T::round(a[v]);
            }
        }
    }

    // Fragment `b` of x: T::depth rows from `first`, eight columns from `d`.
    static __device__ __forceinline__ void read_columns(Word (&b)[2], const unsigned char* rows, int first, int d,
                                                        const Sizes& sizes) {
        if (sizeof(Bits) == 2) {
            const int row = smaller(first + lane_id() % 16, sizes.features);
            const unsigned char* place = rows + row * sizes.row_bytes + d * 2;
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                         : "=r"(b[0]), "=r"(b[1]) : "r"((Word)__cvta_generic_to_shared(place)) : "memory");
        } else {
            const int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
            for (int v = 0; v < 2; ++v) {
                const int row = smaller(first + t + 4 * v, sizes.features);
                b[v] = *reinterpret_cast<const Word*>(rows + row * sizes.row_bytes + (d + g) * 4);
                T::round(b[v]);
            }
        }
    }

    static __device__ __forceinline__ void write_two(unsigned char* place, float first, float second) {
        if (sizeof(Bits) == 2)
            *reinterpret_cast<Word*>(place) = (Word)T::narrow(first) | (Word)T::narrow(second) << 16;
        else *reinterpret_cast<float2*>(place) = make_float2(first, second);
    }

    // dx takes the place of x in shared memory, eight columns at a time: those columns of x are not needed any more.
    static __device__ __forceinline__ void gradient(unsigned char* rows, const Bits* z, Bits* dx, const Sizes& sizes) {
        const int DEPTHS = TILES * ROW_LANES / T::depth;
        const int g = lane_id() / 4, t = lane_id() % 4;
        Word a[TILES][DEPTHS][4];
#pragma unroll
        for (int r = 0; r < TILES; ++r)
#pragma unroll
            for (int c = 0; c < DEPTHS; ++c) read_gradients(a[r][c], z, ROW_LANES * r, T::depth * c, sizes);
        for (int d = 0; d < sizes.dim; d += 8) {
            __syncwarp();  // for the tensor cores, which want the lanes side by side
            float sum[TILES][4] = {};
#pragma unroll
            for (int c = 0; c < DEPTHS; ++c) {
                Word b[2];
                read_columns(b, rows, T::depth * c, d, sizes);
#pragma unroll
                for (int r = 0; r < TILES; ++r) T::multiply(sum[r], a[r][c], b[0], b[1]);
            }
            const int column = d + 2 * t;
            if (g == 0 && column < sizes.dim) sum[0][0] += T::widen(z[column]);
            if (g == 0 && column + 1 < sizes.dim) sum[0][1] += T::widen(z[column + 1]);
            __syncwarp();  // every lane has read its part of these columns
#pragma unroll
            for (int r = 0; r < TILES; ++r)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int i = ROW_LANES * r + g + 8 * half;
                    unsigned char* place = rows + i * sizes.row_bytes + column * (int)sizeof(Bits);
                    if (i < sizes.features) write_two(place, sum[r][2 * half], sum[r][2 * half + 1]);
                }
        }
        __syncwarp();
        move<T, true>(dx, rows, sizes.features, sizes.dim, sizes.row_bytes, sizes.x_vector);
    }
};

// Ordinary arithmetic in float: true float32, and bfloat16 where the tensor cores know none.

template <typename T> struct Fma {
    typedef typename T::Bits Bits;

    static __device__ __forceinline__ void read_four(float (&x)[4], const unsigned char* place) {
        if (sizeof(Bits) == 4) {
            const float4 four = *reinterpret_cast<const float4*>(place);
            x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
        } else {
            const uint2 four = *reinterpret_cast<const uint2*>(place);
            x[0] = T::widen((Half)four.x), x[1] = T::widen((Half)(four.x >> 16));
            x[2] = T::widen((Half)four.y), x[3] = T::widen((Half)(four.y >> 16));
        }
    }

    // Sixteen products at a time: the rows are dealt to `classes` classes, row i to class i % classes, and a lane takes
    // the four rows of one class with the four of another. Neighbouring lanes read neighbouring rows.
    static __device__ __forceinline__ void products(float (&sum)[4][4], const unsigned char* rows, int p, int q,
                                                    int classes, const Sizes& sizes) {
        const unsigned char *at_p[4], *at_q[4];
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            at_p[m] = rows + smaller(p + classes * m, sizes.features) * sizes.row_bytes;
            at_q[m] = rows + smaller(q + classes * m, sizes.features) * sizes.row_bytes;
        }
        for (int chunk = 0; chunk < sizes.dim; chunk += CHUNK) {
            float part[4][4] = {};
            const int end = smaller(chunk + CHUNK, sizes.dim);
#pragma unroll 1
            for (int d = chunk; d < end; d += 4) {
                float at_i[4][4], at_j[4][4];
#pragma unroll
                for (int m = 0; m < 4; ++m) {
                    read_four(at_i[m], at_p[m] + d * (int)sizeof(Bits));
                    read_four(at_j[m], at_q[m] + d * (int)sizeof(Bits));
                }
#pragma unroll
                for (int m = 0; m < 4; ++m)
#pragma unroll
                    for (int n = 0; n < 4; ++n)
#pragma unroll
                        for (int e = 0; e < 4; ++e) part[m][n] = fmaf(at_i[m][e], at_j[n][e], part[m][n]);
            }
#pragma unroll
            for (int m = 0; m < 4; ++m)
#pragma unroll
                for (int n = 0; n < 4; ++n) sum[m][n] += part[m][n];
        }
    }

    static __device__ __forceinline__ void pairs(const unsigned char* rows, Bits* z, const Sizes& sizes) {
        const int classes = (sizes.features + 3) / 4;
        for (int place = lane_id(); place < classes * (classes + 1) / 2; place += 32) {
            int p = 0;
            while ((p + 1) * (p + 2) / 2 <= place) ++p;
            const int q = place - p * (p + 1) / 2;  // classes p >= q
            float sum[4][4] = {};
            products(sum, rows, p, q, classes, sizes);
#pragma unroll
            for (int m = 0; m < 4; ++m)
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    const int i = p + classes * m, j = q + classes * n;
                    if (i < sizes.features && j < sizes.features && (p > q || m > n))
                        z[sizes.dim + pair_place(i, j)] = T::narrow(sum[m][n]);
                }
        }
    }

    static __device__ __forceinline__ void gradient(unsigned char* rows, const Bits* z, Bits* dx, const Sizes& sizes) {
        const int columns = round_up(sizes.features, 8), groups = (sizes.dim + 3) / 4;
        float* G = reinterpret_cast<float*>(reinterpret_cast<unsigned char*>(const_cast<Bits*>(z)) +
                                            round_up(sizes.width * (int)sizeof(Bits), 16));
        for (int place = lane_id(); place < sizes.features * columns; place += 32) {
            const int i = place / columns, j = place % columns;
            G[place] = i == j || j >= sizes.features ? 0.f : T::widen(z[sizes.dim + pair_place(i, j)]);
        }
        __syncwarp();
        for (int place = lane_id(); place < groups * (columns / 8); place += 32) {
            const int first = place / groups * 8, d = place % groups * 4;  // eight rows of dx, four columns
            float sum[8][4] = {};
            for (int j = 0; j < sizes.features; ++j) {
                float x[4], gradients[8];
                read_four(x, rows + j * sizes.row_bytes + d * (int)sizeof(Bits));
                const float4* at = reinterpret_cast<const float4*>(G + j * columns + first);  // G is symmetric
                const float4 low = at[0], high = at[1];
                gradients[0] = low.x, gradients[1] = low.y, gradients[2] = low.z, gradients[3] = low.w;
                gradients[4] = high.x, gradients[5] = high.y, gradients[6] = high.z, gradients[7] = high.w;
#pragma unroll
                for (int m = 0; m < 8; ++m)
#pragma unroll
                    for (int n = 0; n < 4; ++n) sum[m][n] = fmaf(gradients[m], x[n], sum[m][n]);
            }
            if (first == 0)
#pragma unroll
                for (int n = 0; n < 4; ++n) if (d + n < sizes.dim) sum[0][n] += T::widen(z[d + n]);
#pragma unroll
            for (int m = 0; m < 8; ++m)
                if (first + m < sizes.features) write_four(dx + (first + m) * sizes.dim + d, sum[m], sizes.dim - d, sizes);
        }
    }

    static __device__ __forceinline__ void write_four(Bits* dx, const float (&x)[4], int left, const Sizes& sizes) {
        if (!sizes.x_vector) {
#pragma unroll
            for (int n = 0; n < 4; ++n) if (n < left) dx[n] = T::narrow(x[n]);
        } else if (sizeof(Bits) == 4) {
            *reinterpret_cast<float4*>(dx) = make_float4(x[0], x[1], x[2], x[3]);
        } else {
            *reinterpret_cast<uint2*>(dx) = make_uint2((Word)T::narrow(x[0]) | (Word)T::narrow(x[1]) << 16,
                                                       (Word)T::narrow(x[2]) | (Word)T::narrow(x[3]) << 16);
        }
    }
};

template <typename T, typename Way>
__device__ __forceinline__ void forward(const typename T::Bits* __restrict__ x, typename T::Bits* __restrict__ z,
                                        const Sizes& sizes) {
    typedef typename T::Bits Bits;
    Warp warp(sizes);
    Bits* row = reinterpret_cast<Bits*>(warp.z);
    const Index numbers = (Index)sizes.features * sizes.dim;
    const int pairs_end = sizes.dim + sizes.features * (sizes.features - 1) / 2;
    if (warp.sample < sizes.batch)
        load<T>(x + warp.sample * numbers, warp.rows, sizes.features, sizes.dim, sizes.row_bytes, sizes.x_vector);
    for (Index sample = warp.sample; sample < sizes.batch; sample += warp.samples_on) {
        arrived();  // also: every lane has stored its part of the last row
        for (int d = lane_id(); d < sizes.dim; d += 32) row[d] = reinterpret_cast<const Bits*>(warp.rows)[d];
        for (int k = pairs_end + lane_id(); k < sizes.width; k += 32) row[k] = 0;
        __syncwarp();  // for the tensor cores, which want the lanes side by side
        Way::pairs(warp.rows, row, sizes);
        __syncwarp();
        const Index next = sample + warp.samples_on;  // its numbers come while this row goes
        if (next < sizes.batch)
            load<T>(x + next * numbers, warp.rows, sizes.features, sizes.dim, sizes.row_bytes, sizes.x_vector);
        move<T, true>(z + sample * sizes.width, warp.z, 1, sizes.width, 0, sizes.z_vector);
    }
}

template <typename T, typename Way>
__device__ __forceinline__ void backward(const typename T::Bits* __restrict__ x, const typename T::Bits* __restrict__ dz,
                                         typename T::Bits* __restrict__ dx, const Sizes& sizes) {
    Warp warp(sizes);
    const Index numbers = (Index)sizes.features * sizes.dim;
    for (Index sample = warp.sample; sample < sizes.batch; sample += warp.samples_on) {
        load<T>(dz + sample * sizes.width, warp.z, 1, sizes.width, 0, sizes.z_vector);
        load<T>(x + sample * numbers, warp.rows, sizes.features, sizes.dim, sizes.row_bytes, sizes.x_vector);
        arrived();
        Way::gradient(warp.rows, reinterpret_cast<const typename T::Bits*>(warp.z), dx + sample * numbers, sizes);
        __syncwarp();  // before the next sample comes, every lane has read this one
    }
}

#define SIZES Index batch, int features, int dim, int width, int row_bytes, int warp_bytes, int x_vector, int z_vector
// Four warps, and 128 registers a thread: left to itself, ptxas allows 64 on Turing and spills.
#define BOUNDS __launch_bounds__(128, 4)
#define GIVEN Sizes{batch, features, dim, width, row_bytes, warp_bytes, x_vector, z_vector}
#define KERNELS(NAME, T, ...)                                                                    \
    extern "C" __global__ void BOUNDS forward_##NAME(const T::Bits* x, T::Bits* z, SIZES) {      \
        forward<T, __VA_ARGS__>(x, z, GIVEN);                                                    \
    }                                                                                            \
    extern "C" __global__ void BOUNDS                                                            \
    backward_##NAME(const T::Bits* x, const T::Bits* dz, T::Bits* dx, SIZES) {                   \
        backward<T, __VA_ARGS__>(x, dz, dx, GIVEN);                                              \
    }

// dlrm_core/ops/cuda/variants.py adds a line for each variant that is asked for: KERNELS(name, type, way).
