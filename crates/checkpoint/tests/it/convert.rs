//! Conversion between floating point types.

use checkpoint::{Bytes, Dtype, Tensor};
use half::{bf16, f16};
use proptest::prelude::*;

fn f64s(values: &[f64]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    Tensor { dtype: Dtype::F64, shape: vec![values.len()], bytes: Bytes::from(bytes) }
}

/// The nearest of all values, ties to the even one, found by looking at every one.
fn nearest(value: f64, all: impl Iterator<Item = (u16, f64)>) -> u16 {
    let is_candidate = |v: f64| v.is_finite() && v.is_sign_negative() == value.is_sign_negative();
    let finite = all.filter(|(_, v)| is_candidate(*v));
    let key = |(bits, v): &(u16, f64)| ((v - value).abs(), bits & 1);
    finite.min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap()).unwrap().0
}

#[test]
fn f64_is_rounded_once_to_nearest_even() {
    let bits = || 0..=u16::MAX;
    let all_f16 = || bits().map(|b| (b, f64::from(f16::from_bits(b))));
    let all_bf16 = || bits().map(|b| (b, f64::from(bf16::from_bits(b))));
    // The values just beside a tie are those that rounding by way of f32 gets wrong.
    let ties = [1.0_f64 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0];
    let small = [3.0e-8, 5.96e-8, 8.9e-8, 1.0e-39, 6.1e-5];
    for tie in ties.into_iter().chain(small).chain([0.1, 1000.3, 65519.0]) {
        for value in [tie, tie.next_up(), tie.next_down(), tie + 1e-12, -tie, -tie.next_up()] {
            let half = f64s(&[value]).to_dtype(Dtype::F16).unwrap();
            assert_eq!(*half.bytes, nearest(value, all_f16()).to_le_bytes(), "f16 {value:e}");
            let brain = f64s(&[value]).to_dtype(Dtype::Bf16).unwrap();
            assert_eq!(*brain.bytes, nearest(value, all_bf16()).to_le_bytes(), "bf16 {value:e}");
        }
    }
}

#[test]
fn infinities_and_nan_survive_and_too_large_becomes_infinite() {
    let values = f64s(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, -1e300]);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        let found = values.to_dtype(dtype).unwrap().to_f32_vec().unwrap();
        assert_eq!(found[..2], [f32::INFINITY, f32::NEG_INFINITY], "{dtype}");
        assert!(found[2].is_nan(), "{dtype}");
        assert_eq!(found[3..], [f32::INFINITY, f32::NEG_INFINITY], "{dtype}");
    }
}

#[test]
fn widening_and_back_is_the_identity_for_every_half() {
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let bytes: Vec<u8> = (0..=u16::MAX)
            .filter(|&b| !f16::from_bits(b).is_nan() && !bf16::from_bits(b).is_nan())
            .flat_map(u16::to_le_bytes)
            .collect();
        let tensor = Tensor { dtype, shape: vec![bytes.len() / 2], bytes: Bytes::from(bytes) };
        for wide in [Dtype::F32, Dtype::F64] {
            let there = tensor.to_dtype(wide).unwrap();
            assert_eq!(there.bytes.len(), tensor.bytes.len() / 2 * wide.size());
            assert_eq!(*there.to_dtype(dtype).unwrap().bytes, *tensor.bytes, "{dtype} {wide}");
        }
    }
}

#[test]
fn the_same_type_shares_the_bytes() {
    let tensor = f64s(&[1.0]);
    let same = tensor.to_dtype(Dtype::F64).unwrap();
    assert_eq!(same.bytes.as_ptr(), tensor.bytes.as_ptr());
    let ids = Tensor { dtype: Dtype::I64, shape: vec![], bytes: Bytes::from(vec![1; 8]) };
    assert!(ids.to_dtype(Dtype::I64).is_ok());
}

#[test]
fn integers_are_not_converted() {
    let ids = Tensor { dtype: Dtype::I64, shape: vec![1], bytes: Bytes::from(vec![1; 8]) };
    let expected = "cannot convert I64 to F32, only F64, F32, F16 and BF16 convert";
    assert_eq!(ids.to_dtype(Dtype::F32).unwrap_err().to_string(), expected);
    assert_eq!(ids.to_f32_vec().unwrap_err().to_string(), expected);
    let expected = "cannot convert F64 to U8, only F64, F32, F16 and BF16 convert";
    assert_eq!(f64s(&[1.0]).to_dtype(Dtype::U8).unwrap_err().to_string(), expected);
}

proptest! {
    #[test]
    fn f32_converts_as_the_half_crate_does(values in prop::collection::vec(any::<f32>(), 0..40)) {
        let tensor = crate::f32s(&[values.len()], values.iter().copied());
        let half: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let brain: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        prop_assert_eq!(&*tensor.to_dtype(Dtype::F16).unwrap().bytes, half);
        prop_assert_eq!(&*tensor.to_dtype(Dtype::Bf16).unwrap().bytes, brain);
        let back = tensor.to_dtype(Dtype::F64).unwrap().to_dtype(Dtype::F32).unwrap();
        let wide: Vec<f32> = back.to_f32_vec().unwrap();
        for (a, b) in wide.iter().zip(&values) {
            prop_assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
        }
    }
}
