//! Folders of PNG and JPEG files, decoded when they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{ImageDecoder, ImageReader};

use super::fault::count;
use super::file::locate;
use super::options::{flag, needed};
use super::pictures::Wanted;
use super::resize::resize;
use super::{Column, DataError, Dataset, Field, Opened, Options, Schema};
use crate::kernels::par;

/// Sub-folders with these names are splits, not classes.
const SPLITS: [&str; 4] = ["train", "val", "valid", "test"];
const READ: [&str; 3] = ["png", "jpg", "jpeg"];
/// Pictures that would be missed silently if they were passed over like notes and lists.
const NOT_READ: [&str; 13] =
    ["webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jp2", "jxl", "tga", "ppm", "pgm"];

struct Picture {
    path: PathBuf,
    class: i64,
    /// Height and width as delivered.
    sizes: (usize, usize),
}

struct Images {
    schema: Schema,
    splits: Vec<Vec<Picture>>,
    wanted: Wanted,
    grey: bool,
}

/// Paths of a split, each with the name of its class; none in a folder without classes.
type Listed = Vec<(PathBuf, Option<String>)>;

pub fn open(options: &Options, folder: &Path) -> Result<Opened, DataError> {
    let (wanted, grey) = (Wanted::read(options)?, flag(options, "grey"));
    let root = locate(folder, needed(options, "folder")?);
    let listed = list_splits(&root)?;
    let classes = class_names(&root, &listed)?;
    let mut splits = Vec::new();
    for (name, files) in listed {
        let sizes = measure(&files)?;
        let pictures = files.into_iter().zip(sizes).map(|((path, class), stored)| {
            let class = class.and_then(|class| classes.binary_search(&class).ok()).unwrap_or(0) as i64;
            Picture { path, class, sizes: wanted.sizes(stored) }
        });
        splits.push((name, pictures.collect::<Vec<_>>()));
    }
    let all = || splits.iter().flat_map(|(_, pictures)| pictures);
    let first = all().next().map_or((0, 0), |picture| picture.sizes);
    let common = all().all(|picture| picture.sizes == first);
    let mut image = wanted.field([if grey { 1 } else { 3 }, first.0, first.1]);
    if !common {
        image.shape[1..].fill(None);
    }
    let mut fields = vec![image];
    if !classes.is_empty() {
        fields.push(Field::label(classes.len(), classes));
    }
    let counts = splits.iter().map(|(name, pictures)| (name.clone(), Some(pictures.len()))).collect();
    let splits = splits.into_iter().map(|(_, pictures)| pictures).collect();
    Ok(Arc::new(Images { schema: Schema { fields, splits: counts }, splits, wanted, grey }))
}

fn list_splits(root: &Path) -> Result<Vec<(String, Listed)>, DataError> {
    let (folders, _) = entries(root)?;
    let is_split = |path: &PathBuf| SPLITS.contains(&name(path).as_str());
    let names: Vec<PathBuf> = folders.iter().filter(|path| is_split(path)).cloned().collect();
    let splits = if names.is_empty() {
        vec![("train".to_string(), list(root)?)]
    } else if let Some(other) = folders.iter().find(|path| !is_split(path)) {
        return Err(DataError::corrupt(
            root,
            format_args!("mixes splits and classes: `{}` beside `{}`", name(&names[0]), name(other)),
        )
        .help("put the classes below `train/` and `test/`, or rename the folder that only looks like a split"));
    } else {
        let mut names = names;
        names.sort_by_key(|path| SPLITS.iter().position(|split| *split == name(path)));
        names.iter().map(|path| Ok((name(path), list(path)?))).collect::<Result<_, DataError>>()?
    };
    match splits.iter().find(|(_, files)| files.is_empty()) {
        Some((split, _)) => {
            let path = if splits.len() == 1 { root.to_path_buf() } else { root.join(split) };
            Err(DataError::missing(&path, "holds no PNG or JPEG file")
                .help("put pictures into it, in a folder for each class, or directly"))
        }
        None => Ok(splits),
    }
}

/// The pictures of one split: in a folder for each class, or directly.
fn list(folder: &Path) -> Result<Listed, DataError> {
    let (classes, files) = entries(folder)?;
    let direct = pictures(files)?;
    let mut listed = Listed::new();
    for class in classes {
        let (deeper, files) = entries(&class)?;
        if let Some(deeper) = deeper.first() {
            return Err(DataError::corrupt(deeper, "is a folder within a class").help("put its pictures one level up"));
        }
        listed.extend(pictures(files)?.into_iter().map(|path| (path, Some(name(&class)))));
    }
    match (direct.first(), listed.is_empty()) {
        (Some(stray), false) => Err(DataError::corrupt(stray, "lies beside the folders of classes")
            .help("move it into the folder of its class")),
        _ => {
            listed.extend(direct.into_iter().map(|path| (path, None)));
            Ok(listed)
        }
    }
}

/// Folders and files, sorted by name, without hidden ones.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let fault = |error| DataError::io(folder, &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        paths.push(entry.map_err(fault)?.path());
    }
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths.into_iter().partition(|path| path.is_dir()))
}

fn pictures(mut files: Vec<PathBuf>) -> Result<Vec<PathBuf>, DataError> {
    if let Some(path) = files.iter().find(|path| NOT_READ.contains(&extension(path).as_str())) {
        return Err(DataError::corrupt(path, "is of a kind that is not read").help("convert it to PNG or JPEG"));
    }
    files.retain(|path| READ.contains(&extension(path).as_str()));
    Ok(files)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn extension(path: &Path) -> String {
    path.extension().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Sorted, over all splits; empty where there are no classes.
fn class_names(root: &Path, splits: &[(String, Listed)]) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> =
        splits.iter().flat_map(|(_, files)| files).filter_map(|(_, name)| name.clone()).collect();
    names.sort();
    names.dedup();
    let bare = splits.iter().find(|(_, files)| files.iter().any(|(_, class)| class.is_none()));
    match bare {
        Some((split, _)) if !names.is_empty() => {
            Err(DataError::corrupt(&root.join(split), "has no folders of classes, another split has")
                .help("give every split its folders of classes, or none"))
        }
        _ => Ok(names),
    }
}

/// Height and width of each file, from its header.
fn measure(files: &Listed) -> Result<Vec<(usize, usize)>, DataError> {
    in_parallel(files.len(), |at| {
        let path = &files[at].0;
        let (width, height) = decoder(path)?.dimensions();
        if width == 0 || height == 0 {
            return Err(DataError::corrupt(path, "has no pixels"));
        }
        Ok((height as usize, width as usize))
    })
}

fn decoder(path: &Path) -> Result<impl ImageDecoder, DataError> {
    let reader = ImageReader::open(path).map_err(|error| DataError::io(path, &error))?;
    let reader = reader.with_guessed_format().map_err(|error| DataError::io(path, &error))?;
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Err(DataError::missing(path, "is empty").help("remove it or fetch it again"));
    }
    reader.into_decoder().map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &image::ImageError) -> DataError {
    use image::ImageError::*;
    let what = match error {
        Unsupported(_) => format!("is of a kind that is not read: {error}"),
        Limits(_) => "is too large to be read".into(),
        IoError(_) => format!("is cut: {error}"),
        _ => format!("is no whole PNG or JPEG file: {error}"),
    };
    DataError::corrupt(path, what).help("remove it or fetch it again")
}

/// `work` for each of `0..count` on all cores; of several faults the first in order is reported.
fn in_parallel<R: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<R, DataError> + Sync,
) -> Result<Vec<R>, DataError> {
    let mut results: Vec<Option<Result<R, DataError>>> = (0..count).map(|_| None).collect();
    par::fill_blocks(&mut results, 1, |start, part| {
        for (at, place) in part.iter_mut().enumerate() {
            *place = Some(work(start + at));
        }
    });
    results.into_iter().flatten().collect()
}

impl Images {
    fn picture(&self, split: &str, row: usize) -> Result<&Picture, DataError> {
        let pictures = &self.splits[self.schema.split_index(split)?];
        pictures.get(row).ok_or_else(|| {
            DataError::value(format!("record {row} of `{split}` was asked for, it has {}", count(pictures.len())))
        })
    }

    /// Planes of one picture, values from 0 to 255.
    fn decode(&self, picture: &Picture) -> Result<Vec<f32>, DataError> {
        let path = &picture.path;
        let decoded = image::DynamicImage::from_decoder(decoder(path)?).map_err(|error| unreadable(path, &error))?;
        let stored = (decoded.height() as usize, decoded.width() as usize);
        let bytes = if self.grey { decoded.into_luma8().into_raw() } else { decoded.into_rgb8().into_raw() };
        let channels = if self.grey { 1 } else { 3 };
        let mut planes = Vec::with_capacity(channels * picture.sizes.0 * picture.sizes.1);
        for channel in 0..channels {
            let plane: Vec<f32> = bytes.iter().skip(channel).step_by(channels).map(|byte| *byte as f32).collect();
            planes.extend(match self.wanted.size {
                Some(side) => middle(&plane, stored, side),
                None => plane,
            });
        }
        if planes.len() != channels * picture.sizes.0 * picture.sizes.1 {
            return Err(DataError::wrong_size(
                path,
                format_args!("is now {} by {}, it was {} by {}", stored.0, stored.1, picture.sizes.0, picture.sizes.1),
            )
            .help("leave the folder unchanged while it is in use"));
        }
        Ok(planes)
    }
}

/// The shorter side resized to `side`, and the middle of the longer.
fn middle(plane: &[f32], stored: (usize, usize), side: usize) -> Vec<f32> {
    let shorter = stored.0.min(stored.1).max(1);
    let scaled = |length: usize| ((length * side + shorter / 2) / shorter).max(side);
    let (height, width) = (scaled(stored.0), scaled(stored.1));
    let whole = resize(plane, stored, (height, width));
    let (top, left) = ((height - side) / 2, (width - side) / 2);
    let rows = whole.chunks_exact(width).skip(top).take(side);
    rows.flat_map(|row| row[left..left + side].iter().copied()).collect()
}

impl Dataset for Images {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn read(&self, split: &str, field: &str, rows: &[usize]) -> Result<Column, DataError> {
        let pictures: Vec<&Picture> = rows.iter().map(|row| self.picture(split, *row)).collect::<Result<_, _>>()?;
        if self.schema.field_index(field)? == 1 {
            return Ok(Column::I64(pictures.iter().map(|picture| picture.class).collect()));
        }
        let decoded = in_parallel(pictures.len(), |at| self.decode(pictures[at]))?;
        Ok(self.wanted.finish(decoded.concat(), 255.0))
    }

    fn ids(&self, split: &str, rows: &[usize]) -> Vec<i64> {
        let before = self.schema.split_index(split).unwrap_or(0);
        let start: usize = self.splits[..before].iter().map(Vec::len).sum();
        rows.iter().map(|row| (start + row) as i64).collect()
    }

    fn sizes(&self, split: &str, field: &str, row: usize) -> Result<Vec<usize>, DataError> {
        let field = self.schema.field(field)?;
        match (field.fixed(), field.shape.first()) {
            (None, Some(Some(channels))) => {
                let (height, width) = self.picture(split, row)?.sizes;
                Ok(vec![*channels, height, width])
            }
            (fixed, _) => Ok(fixed.unwrap_or_default()),
        }
    }

    fn decodes(&self) -> bool {
        true
    }
}
