use kernels::{layer_norm, rms_norm};

use crate::support::{Random, assert_close, at_every_level};

#[test]
fn norms_equal_their_formulas_far_from_zero_too() {
    let mut random = Random(6);
    for width in [1, 2, 7, 8, 15, 16, 17, 64, 100, 1152] {
        let rows = if width == 1152 { 40 } else { 3 };
        // A mean far above the spread is what a one-pass variance gets wrong.
        let x: Vec<f32> = random.floats(rows * width).iter().map(|x| x + 30.0).collect();
        let (weight, bias) = (random.floats(width), random.floats(width));
        let mut expected_layer = Vec::new();
        let mut expected_rms = Vec::new();
        for x in x.chunks_exact(width) {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let square = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
            for (i, x) in x.iter().enumerate() {
                let (weight, bias) = (f64::from(weight[i]), f64::from(bias[i]));
                expected_layer.push((x - mean) / (variance + 1e-5).sqrt() * weight + bias);
                expected_rms.push(x / (square + 1e-5).sqrt() * weight);
            }
        }
        at_every_level(|level| {
            let mut out = vec![0.0; x.len()];
            layer_norm(&x, &weight, &bias, 1e-5, &mut out);
            assert_close(&out, &expected_layer, 2e-5, &format!("layer {level:?} {width}"));
            rms_norm(&x, &weight, 1e-5, &mut out);
            assert_close(&out, &expected_rms, 1e-6, &format!("rms {level:?} {width}"));
        });
    }
}
