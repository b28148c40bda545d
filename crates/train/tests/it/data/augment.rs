//! Views of pictures, and boxes in them.
#![allow(clippy::float_cmp, reason = "boxes at fractions of two move without rounding")]

use prompt::{Preprocessor, RgbImage};
use train::data::{Augment, BoxHandling, Crop, SampleRng};

const PREPROCESSOR: Preprocessor = Preprocessor { image_size: 8, mean: [0.5; 3], std: [0.5; 3] };

/// Returns a picture in which every pixel says where it is.
fn picture(width: usize, height: usize) -> RgbImage {
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7]));
    RgbImage::new(width, height, pixels.collect()).unwrap()
}

#[test]
fn without_augmentation_the_pixels_are_the_preprocessors() {
    let image = picture(20, 10);
    let view = Augment::default().choose(&image, &[], &mut SampleRng::new(1, 2));
    assert_eq!(view.pixels(&image, &PREPROCESSOR), PREPROCESSOR.preprocess(&image));
    assert_eq!(view.place([0.1, 0.2, 0.3, 0.4]), [0.1, 0.2, 0.3, 0.4]);
}

#[test]
fn a_mirrored_picture_has_its_rows_reversed_and_its_boxes_mirrored() {
    let image = picture(20, 10);
    let augment = Augment { flip: 1.0, ..Augment::default() };
    let view = augment.choose(&image, &[], &mut SampleRng::new(1, 2));
    let (plain, mirrored) = (PREPROCESSOR.preprocess(&image), view.pixels(&image, &PREPROCESSOR));
    for (plain, mirrored) in plain.chunks(8).zip(mirrored.chunks(8)) {
        assert!(plain.iter().eq(mirrored.iter().rev()));
    }
    assert_eq!(view.place([0.25, 0.125, 0.5, 0.75]), [0.5, 0.125, 0.75, 0.75]);
}

#[test]
fn the_probability_of_mirroring_is_kept() {
    let image = picture(4, 4);
    let flipped = |flip: f64| {
        let augment = Augment { flip, ..Augment::default() };
        let flips = |index| augment.choose(&image, &[], &mut SampleRng::new(3, index)).is_flipped();
        (0..2000).filter(|index| flips(*index)).count()
    };
    assert_eq!(flipped(0.0), 0);
    assert_eq!(flipped(1.0), 2000);
    assert!((900..1100).contains(&flipped(0.5)), "{}", flipped(0.5));
}

/// Returns the box that a view shows, read from the boxes of four thin bands that tile the whole.
fn window(view: &train::data::Augmentation) -> [f64; 4] {
    let [x0, y0, x1, y1] = view.unclipped(&[0.0, 0.0, 1.0, 1.0]);
    [-x0 / (x1 - x0), -y0 / (y1 - y0), (1.0 - x0) / (x1 - x0), (1.0 - y0) / (y1 - y0)]
}

#[test]
fn a_crop_is_of_the_allowed_area_and_shape_and_inside_the_picture() {
    let image = picture(60, 40);
    let augment = Augment { flip: 0.0, ..Augment::instructions() };
    for index in 0..500 {
        let view = augment.choose(&image, &[], &mut SampleRng::new(5, index));
        let [left, top, right, bottom] = window(&view);
        assert!(left >= -1e-9 && top >= -1e-9 && right <= 1.0 + 1e-9 && bottom <= 1.0 + 1e-9);
        let (width, height) = ((right - left) * 60.0, (bottom - top) * 40.0);
        let area = width * height / 2400.0;
        assert!((0.48..=1.0).contains(&area), "{area}");
        assert!((0.72..=1.40).contains(&(width / height)), "{}", width / height);
    }
}

#[test]
fn a_picture_no_crop_fits_gives_its_centre() {
    // Half of the area of a strip is wider than 4/3 of its height, whatever is tried.
    let image = picture(200, 6);
    let augment = Augment { flip: 0.0, ..Augment::instructions() };
    let view = augment.choose(&image, &[], &mut SampleRng::new(5, 0));
    assert_eq!(window(&view).map(|at| (at * 200.0).round() as i64), [96, 0, 104, 200]);
    let pixels = view.pixels(&image, &PREPROCESSOR);
    let level = |value: f32| ((value * 0.5 + 0.5) * 255.0).round() as i32;
    assert_eq!(
        pixels[..8].iter().copied().map(level).collect::<Vec<_>>(),
        [96, 97, 98, 99, 100, 101, 102, 103]
    );
}

#[test]
fn a_box_marks_the_same_pixels_before_and_after() {
    // A white rectangle on black, large enough that its edges can be found again.
    let (width, height) = (64, 48);
    let corners = [16.0 / 64.0, 12.0 / 48.0, 40.0 / 64.0, 36.0 / 48.0];
    let pixels = (0..height * width).flat_map(|at| {
        let (x, y) = (at % width, at / width);
        [if (16..40).contains(&x) && (12..36).contains(&y) { 255 } else { 0 }; 3]
    });
    let image = RgbImage::new(width, height, pixels.collect()).unwrap();
    let preprocessor = Preprocessor { image_size: 96, ..PREPROCESSOR };
    let mut flipped = 0;
    for index in 0..40 {
        let view =
            Augment::instructions().choose(&image, &[corners], &mut SampleRng::new(9, index));
        flipped += usize::from(view.is_flipped());
        let moved = view.place(corners).map(|at| at * 96.0);
        let pixels = view.pixels(&image, &preprocessor);
        let lit = |at: &usize| pixels[*at] > 0.0;
        let columns = (0..96 * 96).filter(lit).map(|at| at % 96);
        let rows = (0..96 * 96).filter(lit).map(|at| at / 96);
        let found = [
            columns.clone().min().unwrap(),
            rows.clone().min().unwrap(),
            columns.max().unwrap() + 1,
            rows.max().unwrap() + 1,
        ];
        for (found, expected) in found.into_iter().zip(moved) {
            assert!((found as f64 - expected).abs() <= 1.5, "{found} of {moved:?}");
        }
    }
    assert!((5..35).contains(&flipped));
}

#[test]
fn a_crop_keeps_at_least_half_of_every_box() {
    let image = picture(60, 40);
    let corner = [0.0, 0.0, 0.1, 0.1];
    let mut num_crops = 0;
    for index in 0..200 {
        let view = Augment::instructions().choose(&image, &[corner], &mut SampleRng::new(2, index));
        let [left, top, right, bottom] = view.place(corner);
        let [x0, y0, x1, y1] = window(&view);
        let kept = (right - left) * (x1 - x0) * (bottom - top) * (y1 - y0);
        assert!(kept >= 0.5 * 0.1 * 0.1 - 1e-9, "{kept}");
        num_crops += usize::from(x1 - x0 < 1.0);
    }
    assert!(num_crops > 100);
}

#[test]
fn the_authors_boxes_stay_where_they_were() {
    let image = picture(60, 40);
    let augment = Augment { boxes: BoxHandling::Reference, flip: 1.0, ..Augment::instructions() };
    let view = augment.choose(&image, &[[0.0, 0.0, 0.1, 0.1]], &mut SampleRng::new(2, 3));
    assert_ne!(window(&view), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(view.place([0.0, 0.0, 0.1, 0.1]), [0.0, 0.0, 0.1, 0.1]);
}

#[test]
fn an_empty_picture_is_no_problem() {
    let image = RgbImage::new(0, 0, Vec::new()).unwrap();
    let augment = Augment { crop: Some(Crop::default()), ..Augment::captions() };
    let view = augment.choose(&image, &[[0.0, 0.0, 1.0, 1.0]], &mut SampleRng::new(2, 3));
    assert_eq!(view.pixels(&image, &PREPROCESSOR).len(), 3 * 8 * 8);
    assert!(view.place([0.0, 0.0, 1.0, 1.0]).iter().all(|at| at.is_finite()));
}
