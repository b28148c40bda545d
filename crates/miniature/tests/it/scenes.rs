//! What is true about scenes, and what their pictures show.
#![expect(clippy::cast_sign_loss, reason = "places are not negative here")]

use std::collections::BTreeSet;

use miniature::{Kind, Scene, Split, Texture, View};

const VIEWS: [View; 5] = [View::Flat, View::Room, View::Sign, View::Chart, View::Diagram];

#[test]
fn the_same_seed_gives_the_same_scene_and_another_gives_another() {
    for view in VIEWS {
        let scene = Scene::make(view, Split::Training, 5, 9);
        assert_eq!(scene, Scene::make(view, Split::Training, 5, 9));
        assert_ne!(scene, Scene::make(view, Split::Training, 6, 9));
        assert_ne!(scene, Scene::make(view, Split::Training, 5, 10));
    }
}

#[test]
fn no_test_scene_looks_like_a_training_scene_of_any_seed() {
    for view in VIEWS {
        let all = |split, seed| (0..200).map(move |index| Scene::make(view, split, seed, index));
        let seen: BTreeSet<String> =
            all(Split::Training, 1).chain(all(Split::Training, 2)).map(|s| s.signature()).collect();
        for scene in all(Split::Test, 1) {
            assert!(!seen.contains(&scene.signature()), "{}", scene.signature());
        }
    }
}

#[test]
fn a_plain_shape_has_its_colour_in_its_middle() {
    let mut num_seen = 0;
    for index in 0..60 {
        let scene = Scene::make(View::Flat, Split::Training, 3, index);
        let picture = scene.draw(96);
        for (number, object) in scene.objects.iter().enumerate() {
            let is_covered = scene.objects[number + 1..]
                .iter()
                .any(|other| other.bounds.overlap(&object.bounds) > 0.0);
            let is_hollow = matches!(object.kind, Kind::Ring | Kind::Moon);
            let is_shape = Kind::FLAT[..9].contains(&object.kind);
            if is_covered || is_hollow || !is_shape || object.texture != Texture::Plain {
                continue;
            }
            let [x, y] = object.bounds.middle().map(|v| (v * 96.0) as u32);
            assert_eq!(picture.get_pixel(x, y).0, object.color.rgb(), "{object:?} in {index}");
            num_seen += 1;
        }
    }
    assert!(num_seen > 40, "{num_seen}");
}

#[test]
fn what_is_nearer_in_a_room_hides_what_is_farther() {
    for index in 0..40 {
        let scene = Scene::make(View::Room, Split::Training, 3, index);
        assert!(scene.objects.windows(2).all(|pair| pair[0].depth >= pair[1].depth));
        let picture = scene.draw(96);
        let nearest = scene.objects.last().expect("a room is not empty");
        let [x, y] = nearest.bounds.middle().map(|v| (v * 96.0) as u32);
        let pixel = picture.get_pixel(x, y).0.map(f32::from);
        // Light changes how bright a colour is, hardly its ratios.
        let is_plain = nearest.texture == Texture::Plain;
        let color = nearest.color.rgb().map(f32::from);
        let largest = |v: [f32; 3]| v.into_iter().fold(0.0, f32::max);
        let (scale, seen) = (largest(color), largest(pixel));
        if is_plain && scale > 100.0 && seen > 60.0 {
            for channel in 0..3 {
                let off = (pixel[channel] / seen - color[channel] / scale).abs();
                assert!(off < 0.2, "{nearest:?}: {pixel:?}");
            }
        }
    }
}

#[test]
fn everything_lies_inside_the_picture_and_is_hardly_covered() {
    for view in [View::Flat, View::Room] {
        for index in 0..100 {
            let objects = Scene::make(view, Split::Training, 4, index).objects;
            for (number, object) in objects.iter().enumerate() {
                let b = object.bounds;
                assert!(b.x >= -1e-4 && b.y >= -1e-4, "{b:?}");
                assert!(b.x + b.width <= 1.0001 && b.y + b.height <= 1.0001, "{b:?}");
                assert!(objects[..number].iter().all(|other| other.bounds.overlap(&b) <= 0.25));
            }
        }
    }
}
