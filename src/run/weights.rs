//! Weights from files into the slots of a net: which tensor is which, and what does not fit.
//!
//! A file may hold the net below a name, as checkpoints of whole methods do (`module.backbone.`): where the names alone do
//! not match, the one name below which they do is found.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::pickle::{self, Object};
use candle_core::{Device, Tensor};

use super::fault::{self, Fault};
use super::{files, store, trace};
use crate::diagnostics::{Code, Diagnostic, nearest};
use crate::graph::Type;

/// Names that one message shows.
const SHOWN: usize = 8;

/// What of a file a net takes.
pub struct Found {
    /// In the order of the wanted names.
    pub tensors: Vec<Tensor>,
    /// What stands before each name in the file: empty, or ending in a dot.
    pub below: String,
    /// Names in the file below that which the net has not, in order.
    pub extra: Vec<String>,
}

impl Found {
    pub fn is_whole(&self) -> bool {
        self.below.is_empty() && self.extra.is_empty()
    }

    /// For the log: `122 tensors below module.encoder., 2 more not taken: fc.bias, fc.weight`.
    pub fn summary(&self) -> String {
        let mut text = match self.tensors.len() {
            1 => "1 tensor".to_string(),
            count => format!("{count} tensors"),
        };
        if !self.below.is_empty() {
            text.push_str(&format!(" below `{}`", self.below));
        }
        if !self.extra.is_empty() {
            text.push_str(&format!(", {} more not taken: {}", self.extra.len(), listed(&self.extra)));
        }
        text
    }
}

/// Reads `FILE` or `FILE:BELOW`, a .safetensors file or a state dict of PyTorch, and finds the tensors of these names and
/// types. Everything that is missing or of another size is told at once.
pub fn find(path: &Path, wanted: &[(&str, &Type)]) -> Result<Found, Fault> {
    let (file, below) = split(path);
    let (tensors, unread) = read(&file)?;
    let below = prefix(&file, below, &tensors, wanted)?;
    let mut faults = Faults::default();
    let mut found = Vec::new();
    for (name, ty) in wanted {
        match tensors.get(&format!("{below}{name}")) {
            None => match unread.get(&format!("{below}{name}")) {
                Some(why) => return Err(unreadable(&file, format_args!("holds a `{name}` that is not read: {why}"))),
                None => faults.missing.push((*name).to_string()),
            },
            Some(tensor) => match store::fits(name, tensor, ty) {
                Err(fault) => faults.unfit.push(fault),
                Ok(()) => found.push(checked(&file, name, tensor, ty)?),
            },
        }
    }
    let names: HashSet<String> = wanted.iter().map(|(name, _)| format!("{below}{name}")).collect();
    let mut extra: Vec<String> =
        tensors.keys().filter(|name| name.starts_with(&below) && !names.contains(*name)).cloned().collect();
    extra.sort();
    faults.told(&file, &extra)?;
    Ok(Found { tensors: found, below, extra })
}

/// What does not fit, gathered.
#[derive(Default)]
struct Faults {
    missing: Vec<String>,
    unfit: Vec<Fault>,
}

impl Faults {
    fn told(mut self, path: &Path, extra: &[String]) -> Result<(), Fault> {
        let file = path.display();
        match (self.missing.len(), self.unfit.len()) {
            (0, 0) => Ok(()),
            (0, 1) => Err(self.unfit.remove(0)),
            (0, count) => {
                let sizes: Vec<String> = self.unfit.iter().map(|fault| fault.headline.clone()).collect();
                let headline = format!("{count} tensors of `{file}` have other sizes: {}", joined(&sizes, "; "));
                Err(Box::new(
                    Diagnostic::error(Code::FileWrongSize, headline).help("declare the net with the sizes of the file"),
                ))
            }
            (1, 0) => Err(no_tensor(path, &self.missing[0], extra)),
            (count, unfit) => {
                let mut headline = format!("`{file}` has no {}", listed(&self.missing));
                if count > SHOWN {
                    headline = format!("`{file}` lacks {count} tensors: {}", listed(&self.missing));
                }
                if unfit > 0 {
                    headline.push_str(&format!("; {unfit} have another size"));
                }
                let help = match extra {
                    [] => "it has nothing else".to_string(),
                    _ => format!("it has {}", listed(extra)),
                };
                Err(Box::new(Diagnostic::error(Code::FileWrongSize, headline).help(help)))
            }
        }
    }
}

/// The file has no tensor of that name; `known` is what it has instead, in order.
pub fn no_tensor(file: &Path, name: &str, known: &[String]) -> Fault {
    let help = match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it has nothing else".into(),
        None => format!("it has {}", listed(known)),
    };
    let headline = format!("`{}` has no tensor `{name}`", file.display());
    Box::new(Diagnostic::error(Code::FileWrongSize, headline).help(help))
}

fn listed(names: &[String]) -> String {
    joined(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>(), ", ")
}

fn joined(parts: &[String], by: &str) -> String {
    let more = if parts.len() > SHOWN { format!("{by}…") } else { String::new() };
    format!("{}{more}", parts[..parts.len().min(SHOWN)].join(by))
}

/// A weight is finite and is not made of whole numbers by the way.
fn checked(file: &Path, name: &str, tensor: &Tensor, ty: &Type) -> Result<Tensor, Fault> {
    let refused = |what: String, help: &str| -> Fault {
        Diagnostic::error(Code::FileCorrupt, format!("`{}` {what}", file.display())).help(help).into()
    };
    if ty.dtype.is_float() != tensor.dtype().is_float() {
        let kind = if ty.dtype.is_float() { "whole numbers" } else { "floats" };
        return Err(refused(format!("holds {kind} in `{name}`, which is {ty}"), "write it with the type of the net"));
    }
    // A number may be too large for the net's type.
    let tensor = store::cast(tensor, ty.dtype)?;
    if !trace::all_finite(&tensor).map_err(|error| fault::candle("a weight could not be read", &error))? {
        return Err(refused(format!("holds NaN or an infinity in `{name}`"), "take a file that was saved before that"));
    }
    Ok(tensor)
}

/// What stands before the names: as given, nothing, or else the one name below which most of them are.
fn prefix(
    file: &Path,
    given: Option<String>,
    tensors: &HashMap<String, Tensor>,
    wanted: &[(&str, &Type)],
) -> Result<String, Fault> {
    let matches =
        |below: &str| wanted.iter().filter(|(name, _)| tensors.contains_key(&format!("{below}{name}"))).count();
    if let Some(below) = given {
        if tensors.keys().any(|name| name.starts_with(&dotted(&below))) {
            return Ok(dotted(&below));
        }
        let mut tops: Vec<String> =
            tensors.keys().filter_map(|name| name.split_once('.')).map(|(top, _)| top.to_string()).collect();
        tops.sort();
        tops.dedup();
        let help = match nearest(&below, tops.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if tops.is_empty() => format!("leave out `:{below}`"),
            None => format!("leave out `:{below}`, or take one of {}", listed(&tops)),
        };
        let headline = format!("`{}` has nothing below `{below}`", file.display());
        return Err(Box::new(Diagnostic::error(Code::FileWrongSize, headline).help(help)));
    }
    if matches("") > 0 || wanted.is_empty() {
        return Ok(String::new());
    }
    let ending: Vec<String> = wanted.iter().map(|(name, _)| format!(".{name}")).collect();
    let candidates: HashSet<&str> =
        tensors.keys().flat_map(|have| ending.iter().filter_map(|name| have.strip_suffix(name.as_str()))).collect();
    let mut ranked: Vec<(usize, String)> =
        candidates.into_iter().map(dotted).map(|below| (matches(&below), below)).collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    match ranked.as_slice() {
        [] => Ok(String::new()),
        [(most, first), (other, second), ..] if most == other => {
            let headline = format!("`{}` holds this net twice, below `{first}` and below `{second}`", file.display());
            let help = format!("say which: `\"{}:{}\"`", file.display(), first.trim_end_matches('.'));
            Err(Box::new(Diagnostic::error(Code::FileWrongSize, headline).help(help)))
        }
        [(_, below), ..] => Ok(below.clone()),
    }
}

fn dotted(below: &str) -> String {
    format!("{}.", below.trim_end_matches('.'))
}

/// `FILE:BELOW` where FILE has one of the endings that are read.
fn split(path: &Path) -> (PathBuf, Option<String>) {
    let text = path.to_string_lossy();
    match text.rsplit_once(':') {
        Some((file, below))
            if !below.contains('/') && (is_pickle(Path::new(file)) || file.ends_with(".safetensors")) =>
        {
            (file.into(), Some(below.to_string()))
        }
        _ => (path.to_path_buf(), None),
    }
}

fn is_pickle(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["pth", "pt", "bin", "ckpt"].iter().any(|known| ending == *known))
}

/// Tensors by name, and of those that are not read, why.
type Contents = (HashMap<String, Tensor>, HashMap<String, String>);

fn read(file: &Path) -> Result<Contents, Fault> {
    if !is_pickle(file) {
        return Ok((files::read_safetensors(file)?, HashMap::new()));
    }
    let bytes = crate::source::read_bytes(file).map_err(|error| fault::read(file, &error))?;
    if !bytes.starts_with(b"PK") {
        return Err(unreadable(file, format_args!("is no archive of `torch.save`, or of a version before 1.6")));
    }
    let contents = state_dict(&bytes).map_err(|error| {
        let text = error.to_string();
        unreadable(file, format_args!("is no whole archive of `torch.save`: {}", text.lines().next().unwrap_or("")))
    })?;
    if contents.0.is_empty() && contents.1.is_empty() {
        return Err(unreadable(file, format_args!("holds no tensor under a name")));
    }
    Ok(contents)
}

fn unreadable(file: &Path, what: std::fmt::Arguments<'_>) -> Fault {
    Diagnostic::error(Code::FileCorrupt, format!("`{}` {what}", file.display()))
        .help("write it with `torch.save(net.state_dict(), FILE)`, or as .safetensors")
        .into()
}

/// The tensors of what PyTorch wrote, those of dictionaries in dictionaries by all their keys, with dots between.
fn state_dict(bytes: &[u8]) -> candle_core::Result<Contents> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(candle_core::Error::wrap)?;
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(|name| name.into_owned()))
        .collect::<Result<_, _>>()
        .map_err(candle_core::Error::wrap)?;
    let (mut tensors, mut unread) = (HashMap::new(), HashMap::new());
    for name in names.iter().filter(|name| name.ends_with("data.pkl")) {
        let folder = PathBuf::from(name.trim_end_matches(".pkl"));
        let mut stack = pickle::Stack::empty();
        let file = archive.by_name(name).map_err(candle_core::Error::wrap)?;
        stack.read_loop(&mut BufReader::new(file))?;
        let mut leaves = Vec::new();
        gather("", stack.finalize()?, &mut leaves);
        for (name, object) in leaves {
            match object.into_tensor_info(Object::Unicode(name.clone()), &folder) {
                Ok(Some(info)) => {
                    let mut storage = Vec::new();
                    let mut file = archive.by_name(&info.path).map_err(candle_core::Error::wrap)?;
                    file.read_to_end(&mut storage)?;
                    tensors.insert(name, of_storage(&storage, &info)?);
                }
                Ok(None) => {}
                Err(error) => {
                    let text = error.to_string();
                    unread.insert(name, text.lines().next().unwrap_or_default().to_string());
                }
            }
        }
    }
    Ok((tensors, unread))
}

/// Everything at the ends of dictionaries, with its keys.
fn gather(below: &str, object: Object, leaves: &mut Vec<(String, Object)>) {
    let entries = match object {
        Object::Dict(entries) => entries,
        // An ordered dictionary with attributes of its own.
        Object::Build { callable, .. } if matches!(*callable, Object::Dict(_)) => {
            return gather(below, *callable, leaves);
        }
        other => {
            if !below.is_empty() {
                leaves.push((below.to_string(), other));
            }
            return;
        }
    };
    for (key, value) in entries {
        if let Object::Unicode(key) = key {
            gather(&if below.is_empty() { key } else { format!("{below}.{key}") }, value, leaves);
        }
    }
}

/// A tensor from its part of a storage, which it may read in steps of any length.
fn of_storage(storage: &[u8], info: &pickle::TensorInfo) -> candle_core::Result<Tensor> {
    let (dims, strides) = (info.layout.dims(), info.layout.stride());
    let width = info.dtype.size_in_bytes();
    let count: usize = dims.iter().product();
    let mut bytes = Vec::with_capacity(count * width);
    for at in 0..count {
        let (mut rest, mut place) = (at, 0);
        for (size, stride) in dims.iter().zip(strides).rev() {
            place += rest % size * stride;
            rest /= size;
        }
        // Candle keeps where a part begins in bytes, its strides in elements.
        let start = info.layout.start_offset() + place * width;
        match storage.get(start..start + width) {
            Some(element) => bytes.extend_from_slice(element),
            None => candle_core::bail!("`{}` reads beyond its storage", info.name),
        }
    }
    Tensor::from_raw_buffer(&bytes, info.dtype, dims, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DType, Size};

    fn ty(sizes: &[i64]) -> Type {
        Type::new(DType::F32, sizes.iter().map(|n| Size::known(*n)))
    }

    fn found(file: &str, wanted: &[(&str, &[i64])]) -> Result<Found, Fault> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state_dicts").join(file);
        let types: Vec<Type> = wanted.iter().map(|(_, sizes)| ty(sizes)).collect();
        let wanted: Vec<(&str, &Type)> = wanted.iter().zip(&types).map(|((name, _), ty)| (*name, ty)).collect();
        find(&path, &wanted)
    }

    const LINEAR: &[(&str, &[i64])] = &[("weight", &[2, 3]), ("bias", &[2])];

    fn numbers(found: &Found) -> Vec<Vec<f32>> {
        found.tensors.iter().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    fn refused(file: &str, wanted: &[(&str, &[i64])]) -> String {
        let fault = found(file, wanted).err().expect("it does not fit");
        let folder = format!("{}/tests/fixtures/state_dicts/", env!("CARGO_MANIFEST_DIR"));
        format!("{}: {}", fault.headline, fault.help.unwrap_or_default()).replace(&folder, "")
    }

    #[test]
    fn a_state_dict_of_pytorch_is_read() {
        for file in ["alone.pth", "transposed.pth", "checkpoint.pth"] {
            let found = found(file, LINEAR).unwrap_or_else(|fault| panic!("{file}: {}", fault.headline));
            assert_eq!(numbers(&found), [vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], vec![0.5, -0.5]], "{file}");
        }
    }

    #[test]
    fn the_name_below_which_a_net_lies_is_found_or_asked_for() {
        assert_eq!(found("checkpoint.pth", LINEAR).unwrap().summary(), "2 tensors below `state_dict.module.encoder.`");
        assert_eq!(found("twice.pth:key", LINEAR).unwrap().below, "key.");
        assert_eq!(
            refused("twice.pth", LINEAR),
            "`twice.pth` holds this net twice, below `key.` and below `query.`: say which: `\"twice.pth:key\"`"
        );
    }

    #[test]
    fn what_is_left_over_missing_or_of_another_size_is_listed() {
        let part = found("alone.pth", &[("weight", &[2, 3])]).unwrap();
        assert_eq!(part.summary(), "1 tensor, 1 more not taken: `bias`");
        let missing = refused("alone.pth", &[("weight", &[2, 3]), ("scale", &[2]), ("shift", &[2])]);
        assert_eq!(missing, "`alone.pth` has no `scale`, `shift`: it has `bias`");
        let sizes = refused("alone.pth", &[("weight", &[3, 2]), ("bias", &[3])]);
        assert!(sizes.starts_with("2 tensors of `alone.pth` have other sizes: `weight` is f32[3, 2]"), "{sizes}");
    }

    #[test]
    fn parts_of_another_tensor_are_read() {
        let found = found("shared.pth", LINEAR).unwrap();
        assert_eq!(numbers(&found), [vec![2.0, 3.0, 4.0, 5.0, 6.0, 7.0], vec![0.0, 1.0]]);
        let found = super::tests::found("strided.pth", LINEAR).unwrap();
        assert_eq!(numbers(&found), [vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0], vec![0.5, 0.5]]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(refused("alone.pth:zzz", LINEAR), "`alone.pth` has nothing below `zzz`: leave out `:zzz`");
        assert!(refused("copies.pth", LINEAR).starts_with("`copies.pth` holds this net twice, below `model.`"));
        let int = refused("int.pth", LINEAR);
        assert!(int.starts_with("`int.pth` holds a `weight` that is not read: unsupported storage type"), "{int}");
        assert!(refused("huge.pth", LINEAR).starts_with("`huge.pth` holds NaN or an infinity in `weight`"));
    }
}
