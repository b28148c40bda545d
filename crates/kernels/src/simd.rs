//! Vectors of f32, so that a kernel is written once for every [`Level`].
//!
//! A kernel is an [`Kernel`]; [`dispatch`] runs it compiled for the level in use. All of its code
//! must be inlined into [`Kernel::run`], which is what gives it the level's instructions.

use half::{bf16, f16};

use crate::Level;

/// A kernel that any vector type can run.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;
    /// Computes it; to be marked `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vectors of f32. A value is the proof that the processor has the instructions.
pub(crate) trait Simd: Copy + Send + Sync {
    /// A vector.
    type V: Copy;
    /// f32 of a vector.
    const LANES: usize;
    /// Rows and columns of the largest tile of accumulators that fits into the registers.
    const TILE: (usize, usize);
    /// Rows and vectors of the tile of accumulators of an outer product, one row broadcast at a
    /// time.
    const OUTER: (usize, usize);

    /// Runs a kernel as a function of its own, which has all registers for itself.
    fn apart<K: Kernel>(self, kernel: K) -> K::Output;
    /// Returns `value` in every lane.
    fn splat(self, value: f32) -> Self::V;
    /// Reads the first [`Self::LANES`] elements.
    fn load(self, from: &[f32]) -> Self::V;
    /// Reads the first [`Self::LANES`] elements, widened.
    fn load_bf16(self, from: &[bf16]) -> Self::V;
    /// Reads the first [`Self::LANES`] elements, widened.
    fn load_f16(self, from: &[f16]) -> Self::V;
    /// Reads the first [`Self::LANES`] bytes as integers with signs.
    fn load_i8(self, from: &[u8]) -> Self::V;
    /// Writes the first [`Self::LANES`] elements.
    fn store(self, value: Self::V, to: &mut [f32]);
    /// Reads fewer elements than a vector has, `rest` in the lanes after them.
    #[inline(always)]
    fn load_few(self, from: &[f32], rest: f32) -> Self::V {
        let mut padded = [rest; 16];
        padded[..from.len()].copy_from_slice(from);
        self.load(&padded)
    }
    /// Writes as many elements as there is room for, which is for fewer than a vector has.
    #[inline(always)]
    fn store_few(self, value: Self::V, to: &mut [f32]) {
        let mut padded = [0.0; 16];
        self.store(value, &mut padded);
        to.copy_from_slice(&padded[..to.len()]);
    }
    /// Returns `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns the square root of each lane.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// Returns the larger of each lane; `b` if one of them is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns the smaller of each lane; `b` if one of them is not a number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a * b + c`, rounded once where the processor can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Returns each lane rounded to an integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// Returns `2^a` of integers between -126 and 127.
    fn exp2_of_integer(self, a: Self::V) -> Self::V;
    /// Returns the sum of all lanes: within each four of them `(0 + 2) + (1 + 3)`, and then half
    /// and half.
    fn sum(self, a: Self::V) -> f32;

    /// Returns the largest of all lanes, none of which may be no number.
    #[inline(always)]
    fn largest(self, a: Self::V) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        self.store(a, &mut lanes);
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] { lanes[i] } else { lanes[i + half] };
            }
        }
        lanes[0]
    }

    /// Returns the sum of each of four vectors, to the bit what [`Simd::sum`] returns.
    #[inline(always)]
    fn sums(self, a: [Self::V; 4]) -> [f32; 4] {
        a.map(|a| self.sum(a))
    }

    /// Writes the columns of sixteen rows of sixteen elements, widened, each `stride` after the
    /// one before it: element `i` of row `r` to `i * stride + r`.
    #[inline(always)]
    fn transpose<E: Element>(self, rows: &[&[E]; 16], to: &mut [f32], stride: usize) {
        for (r, row) in rows.iter().enumerate() {
            let mut values = [0.0; 16];
            widen(self, &row[..16], &mut values);
            for (i, value) in values.into_iter().enumerate() {
                to[i * stride + r] = value;
            }
        }
    }

    /// Returns `e^a`, with a relative error below 3e-7. It stays at the value of -87.3, about 1e-38,
    /// below it and at that of 88.0 above; what is not a number stays so.
    #[inline(always)]
    fn exp(self, a: Self::V) -> Self::V {
        let a = self.min(self.splat(88.0), self.max(self.splat(-87.3), a));
        let n = self.round(self.mul(a, self.splat(std::f32::consts::LOG2_E)));
        // ln 2 in two parts, so that the remainder is exact.
        let r = self.mul_add(n, self.splat(-0.693_359_4), a);
        let r = self.mul_add(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_2e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = self.mul_add(p, r, self.splat(c));
        }
        let p = self.add(self.mul_add(self.mul(r, r), p, r), self.splat(1.0));
        self.mul(p, self.exp2_of_integer(n))
    }
}

/// An element type that widens to f32.
pub(crate) trait Element: Copy + Default + Send + Sync {
    /// Reads a vector.
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::V;
    /// Returns the value as f32.
    fn widened(self) -> f32;

    /// Reads fewer elements than a vector has, zeros after them.
    #[inline(always)]
    fn load_few<S: Simd>(simd: S, from: &[Self]) -> S::V {
        let mut padded = [Self::default(); 16];
        padded[..from.len()].copy_from_slice(from);
        Self::load(simd, &padded)
    }

    /// Returns the elements if they are bf16.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16(_: &[Self]) -> Option<&[bf16]> {
        None
    }
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::V {
        simd.load(from)
    }
    #[inline(always)]
    fn load_few<S: Simd>(simd: S, from: &[Self]) -> S::V {
        simd.load_few(from, 0.0)
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::V {
        simd.load_bf16(from)
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        self.to_f32()
    }
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16(elements: &[Self]) -> Option<&[bf16]> {
        Some(elements)
    }
}

impl Element for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> S::V {
        simd.load_f16(from)
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        self.to_f32()
    }
}

/// Reads a vector of a row from its rest on, zeros after its end.
#[inline(always)]
pub(crate) fn load_some<S: Simd, E: Element>(simd: S, from: &[E]) -> S::V {
    if from.len() >= S::LANES { E::load(simd, from) } else { E::load_few(simd, from) }
}

/// Writes as much of a vector as there is room for.
#[inline(always)]
pub(crate) fn store_some<S: Simd>(simd: S, value: S::V, to: &mut [f32]) {
    if to.len() >= S::LANES {
        simd.store(value, to);
    } else {
        simd.store_few(value, to);
    }
}

/// Writes elements as f32; `to` has room for whole vectors.
#[inline(always)]
pub(crate) fn widen<S: Simd, E: Element>(simd: S, from: &[E], to: &mut [f32]) {
    let whole = from.len() - from.len() % S::LANES;
    let mut at = 0;
    while at < whole {
        simd.store(E::load(simd, &from[at..]), &mut to[at..]);
        at += S::LANES;
    }
    if whole < from.len() {
        simd.store(E::load_few(simd, &from[whole..]), &mut to[whole..]);
    }
}

/// Runs a kernel compiled for the level in use.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    dispatch_at(Level::current(), kernel)
}

/// Runs a kernel compiled for one level, which must be available.
pub(crate) fn dispatch_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    debug_assert!(level.is_available());
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level in use was detected on this processor.
        Level::Avx2 | Level::AvxVnni => unsafe { x86::run_avx2(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx512 | Level::Avx512Vnni | Level::Avx512Bf16 | Level::Amx => unsafe {
            x86::run_avx512(kernel)
        },
        #[cfg(target_arch = "aarch64")]
        Level::Neon | Level::NeonDotprod => neon::run(kernel),
        _ => kernel.run(Portable),
    }
}

/// Plain loops over eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Portable {
    #[inline(always)]
    fn map(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const TILE: (usize, usize) = (2, 2);
    const OUTER: (usize, usize) = (4, 1);

    #[inline(never)]
    fn apart<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; 8]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::V {
        std::array::from_fn(|i| from[i])
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> Self::V {
        std::array::from_fn(|i| f32::from_bits(u32::from(from[i].to_bits()) << 16))
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> Self::V {
        std::array::from_fn(|i| from[i].to_f32())
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8]) -> Self::V {
        std::array::from_fn(|i| f32::from(from[i].cast_signed()))
    }
    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32]) {
        to[..8].copy_from_slice(&value);
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        Self::map(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `f32::mul_add`, which is a library call where the compiler may not assume FMA.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // Adding and subtracting 1.5 * 2^23 rounds; `round_ties_even` may be a library call.
        a.map(|a| (a + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    fn exp2_of_integer(self, a: Self::V) -> Self::V {
        a.map(|a| f32::from_bits(((a as i32 + 127) << 23).cast_unsigned()))
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        let four = |a: &[f32]| (a[0] + a[2]) + (a[1] + a[3]);
        four(&a[..4]) + four(&a[4..])
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums four vectors together and each by itself.
    struct Sums<'a>(&'a [f32]);

    impl Kernel for Sums<'_> {
        type Output = ([f32; 4], [f32; 4]);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let vectors = std::array::from_fn(|i| simd.load(&self.0[i * S::LANES..]));
            (simd.sums(vectors), vectors.map(|vector| simd.sum(vector)))
        }
    }

    /// Reads some elements and writes them again; returns what was read and the largest.
    struct Few<'a>(&'a [f32], &'a mut [f32]);

    impl Kernel for Few<'_> {
        type Output = ([f32; 16], f32);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            // Of fewer lanes than there are elements: as many as fit.
            let len = self.0.len().min(S::LANES - 1);
            let few = simd.load_few(&self.0[..len], -7.0);
            simd.store_few(few, &mut self.1[..len]);
            let mut lanes = [-7.0; 16];
            simd.store(few, &mut lanes);
            (lanes, simd.largest(few))
        }
    }

    #[test]
    fn few_elements_are_read_and_written_and_no_others() {
        let from: Vec<f32> = (0..20_u8).map(|i| 0.5 + f32::from(i * 7 % 20)).collect();
        for level in Level::available() {
            for (start, len) in (0..4).flat_map(|start| (0..16).map(move |len| (start, len))) {
                let mut to = [9.0; 20];
                let some = &from[start..start + len];
                let (lanes, largest) = dispatch_at(level, Few(some, &mut to[start..]));
                let read = lanes.iter().take_while(|lane| **lane > 0.0).count();
                assert!(read == len || read == 7 && len > 7, "{level:?} {len}: {read}");
                let (mut written, mut filled) = ([9.0; 20], [-7.0; 16]);
                written[start..start + read].copy_from_slice(&some[..read]);
                filled[..read].copy_from_slice(&some[..read]);
                let expected = some[..read].iter().copied().fold(-7.0, f32::max);
                let bits = |of: &[f32]| of.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&to), bits(&written), "{level:?} {start} {len}");
                assert_eq!(bits(&lanes), bits(&filled), "{level:?} {start} {len}");
                assert_eq!(bits(&[largest]), bits(&[expected]), "{level:?} {start} {len}");
            }
        }
    }

    #[test]
    fn four_vectors_are_summed_as_each_by_itself() {
        // Of many magnitudes, so that another order gives other bits.
        let floats: Vec<f32> = (0..64_u16)
            .map(|i| f32::from(i * 37 % 64 + 1).powi(5) * if i % 3 == 0 { -0.1 } else { 0.7 })
            .collect();
        for level in Level::available() {
            let (together, alone) = dispatch_at(level, Sums(&floats));
            assert_eq!(together.map(f32::to_bits), alone.map(f32::to_bits), "{level:?}");
        }
    }
}
