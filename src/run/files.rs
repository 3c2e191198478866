//! Tensors in files: npy and safetensors.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::diagnostics::{Code, Diagnostic};

use super::fault::{self, Fault};

/// All tensors of a safetensors file.
pub fn read_safetensors(path: &Path) -> Result<HashMap<String, Tensor>, Fault> {
    let bytes = crate::source::read_bytes(path).map_err(|error| fault::read(path, &error))?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| {
        corrupt(path, "is no whole safetensors file", &error).help("write it again, or fetch it again").into()
    })
}

/// A text file.
pub fn read_text(path: &Path) -> Result<String, Fault> {
    crate::source::read_text(path).map_err(|error| fault::read(path, &error))
}

/// One tensor of a safetensors file.
pub fn read_tensor(path: &Path, name: &str) -> Result<Tensor, Fault> {
    let tensors = read_safetensors(path)?;
    let mut known: Vec<String> = tensors.keys().cloned().collect();
    known.sort();
    tensors.get(name).cloned().ok_or_else(|| super::weights::no_tensor(path, name, &known))
}

/// An array written by `numpy.save`.
pub fn read_npy(path: &Path) -> Result<Tensor, Fault> {
    let bytes = crate::source::read_bytes(path).map_err(|error| fault::read(path, &error))?;
    let (shape, values) = crate::data::read_npy(path, &bytes).map_err(|error| {
        let fault = Diagnostic::error(error.code, error.headline);
        Box::new(error.help.into_iter().fold(fault, Diagnostic::help))
    })?;
    values.tensor(&shape).map_err(|error| fault::candle("an array could not be taken over", &error))
}

/// Reads `FILE.npy` or `FILE.safetensors:KEY`; without a key, the file's only tensor.
pub fn read_argument(text: &str) -> Result<Tensor, Fault> {
    if text.ends_with(".npy") {
        return read_npy(Path::new(text));
    }
    if let Some((file, key)) = text.rsplit_once(".safetensors:") {
        return read_tensor(Path::new(&format!("{file}.safetensors")), key);
    }
    if text.ends_with(".safetensors") {
        let path = Path::new(text);
        let tensors = read_safetensors(path)?;
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort();
        return match names.as_slice() {
            [name] => Ok(tensors[*name].clone()),
            _ => Err(Box::new(
                Diagnostic::error(Code::FileWrongSize, format!("`{text}` holds {} tensors", names.len()))
                    .help(format!("name one of them: `{text}:{}`", names.first().map_or("NAME", |name| name))),
            )),
        };
    }
    Err(Box::new(
        Diagnostic::error(Code::FileCorrupt, format!("`{text}` is neither .npy nor .safetensors"))
            .help("write `FILE.npy` or `FILE.safetensors:KEY`"),
    ))
}

/// Writes a safetensors file beside its place first, so that a whole file stands there at any moment. `facts` are kept in its
/// header, beside the word by which PyTorch's libraries know that the tensors are laid out as theirs.
pub fn write_safetensors(path: &Path, tensors: &[(String, Tensor)], facts: &[(&str, String)]) -> Result<(), Fault> {
    let mut cpu = Vec::new();
    for (name, tensor) in tensors {
        let tensor = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor.contiguous());
        cpu.push((name, tensor.map_err(|error| fault::candle("a tensor could not be read back", &error))?));
    }
    let header = facts.iter().map(|(name, value)| (name.to_string(), value.clone()));
    let header: HashMap<String, String> = header.chain([("format".into(), "pt".into())]).collect();
    whole_file(path, &|part| {
        let tensors = cpu.iter().map(|(name, tensor)| (*name, tensor));
        Ok(safetensors::serialize_to_file(tensors, Some(header.clone()), part)?)
    })
}

/// Writes an npy file in the same way.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<(), Fault> {
    // The writer knows no bytes but those of numbers; flags go out as they are stored.
    let tensor = match tensor.dtype() {
        DType::BF16 | DType::F16 => tensor.to_dtype(DType::F32),
        _ => tensor.contiguous(),
    };
    let tensor = tensor.and_then(|tensor| tensor.to_device(&Device::Cpu));
    let tensor = tensor.map_err(|error| fault::candle("a tensor could not be read back", &error))?;
    whole_file(path, &|part| tensor.write_npy(part))
}

/// Text, in the same way.
pub fn write_text(path: &Path, text: &str) -> Result<(), Fault> {
    whole_file(path, &|part| {
        let mut file = std::fs::File::create(part)?;
        file.write_all(text.as_bytes())?;
        Ok(())
    })
}

fn whole_file(path: &Path, write: &dyn Fn(&Path) -> candle_core::Result<()>) -> Result<(), Fault> {
    let part = part_of(path);
    let done = write(&part).map_err(|error| write_fault(path, &error)).and_then(|()| {
        sync(&part).and_then(|()| std::fs::rename(&part, path)).map_err(|error| fault::write(path, &error))
    });
    if done.is_err() {
        // Half a file serves nobody, and it may be what filled the disk.
        let _ = std::fs::remove_file(&part);
    }
    done
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    // Another process may write the same file.
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Makes sure that a file has reached the disk.
pub fn sync(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Candle wraps the system's reason, which is what the user needs.
fn write_fault(path: &Path, error: &candle_core::Error) -> Fault {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return fault::write(path, io);
        }
        source = inner.source();
    }
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or("no reason given");
    fault::write(path, &std::io::Error::other(reason.to_owned()))
}

fn corrupt(path: &Path, what: &str, error: &candle_core::Error) -> Diagnostic {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or("no reason given");
    Diagnostic::error(Code::FileCorrupt, format!("`{}` {what}: {reason}", path.display()))
}
