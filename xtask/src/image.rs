//! The container image: both programs, `nft` and what it needs, nothing else.
//!
//! Guarantees: the same programs on the same Debian give the same bytes (order, times and owners are fixed; the time is
//! `SOURCE_DATE_EPOCH`, else that of the last commit); every file of a Debian package comes with the package's licence;
//! the programs of the finished image answer. Leaves out: signatures, other architectures than this machine's.

mod archive;
mod rootfs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::command::Tool;
use crate::{dist, programs, progress};

use archive::{Archive, Blob};

/// Name of the image, as the manifests in `install/` have it.
const NAME: &str = concat!("sortie.dev/sortie:", env!("CARGO_PKG_VERSION"));

/// `image`.
pub(crate) fn run(root: &Path, _: &[String]) -> Result<()> {
    dist::run(root, &[])?;
    progress::line("==> image");
    let time = time(root)?;
    let files = rootfs::files(root)?;
    let mut layer = Archive::new(time);
    for (path, file) in &files {
        layer.file(path, file.mode, &file.content)?;
    }
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer.finish()?);
    let folder = programs::target(root).join("image");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("sortie-{}-{}.tar", env!("CARGO_PKG_VERSION"), architecture()?));
    std::fs::write(&path, image(&layer, time)?).with_context(|| format!("cannot write {}", path.display()))?;
    answers(root, &layer)?;
    progress::line(&format!("{:>9} bytes  {}", std::fs::metadata(&path)?.len(), path.display()));
    Ok(())
}

/// The whole image as `ctr images import`, `podman load` and `docker load` read it: an OCI layout, and the list of
/// `docker save` beside it.
fn image(layer: &Blob, time: u64) -> Result<Vec<u8>> {
    let config = Blob::json("application/vnd.oci.image.config.v1+json", &config(layer)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest);
    let mut descriptor = manifest.descriptor();
    descriptor["annotations"] = json!({
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": env!("CARGO_PKG_VERSION"),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    });
    let docker = json!([{"Config": config.path(), "RepoTags": [NAME], "Layers": [layer.path()]}]);
    let mut archive = Archive::new(time);
    let mut blobs = [layer, &config, &manifest];
    blobs.sort_by_key(|blob| blob.path());
    for blob in blobs {
        archive.file(&blob.path(), 0o644, &blob.content)?;
    }
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    archive.file("manifest.json", 0o644, docker.to_string().as_bytes())?;
    archive.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    archive.finish()
}

fn config(layer: &Blob) -> Result<Value> {
    Ok(json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": ["/sortie-helper"],
            "Cmd": ["--help"],
            "Labels": {
                "org.opencontainers.image.title": "sortie",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
    }))
}

/// Seconds since 1970 that every file has.
fn time(root: &Path) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => Tool::new("git", root).arguments(&["log", "-1", "--format=%ct"]).capture()?,
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}; give seconds since 1970"))
}

/// This machine's name in the world of images.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no image for {other}: sortie is built for amd64 and arm64"),
    }
}

/// Unpacks the layer and asks each program in it.
fn answers(root: &Path, layer: &Blob) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("sortie-image-").tempdir().context("cannot create a folder")?;
    tar::Archive::new(layer.content.as_slice()).unpack(folder.path()).context("cannot unpack the layer")?;
    for (arguments, wanted) in [
        (&["/usr/sbin/nft", "--version"][..], "nftables v"),
        (&["/sortie-helper", "--version"], "sortie-helper "),
        (&["/sortie"], "supportedVersions"),
    ] {
        let said = inside(root, folder.path())?.arguments(arguments).variable("CNI_COMMAND", "VERSION").capture()?;
        if !said.contains(wanted) {
            bail!("{} in the image says {said:?}", arguments.join(" "));
        }
        progress::line(&format!("    {}", said.lines().next().unwrap_or_default()));
    }
    Ok(())
}

/// A command in the folder as its whole world; root of a user namespace does where we are not root.
fn inside(root: &Path, folder: &Path) -> Result<Tool> {
    let folder = folder.to_str().map(PathBuf::from).context("the temporary folder has no readable name")?;
    let folder = folder.display().to_string();
    if Tool::new("id", root).arguments(&["-u"]).capture()?.trim() == "0" {
        return Ok(Tool::new("chroot", root).arguments(&[folder]));
    }
    Ok(Tool::new("unshare", root).arguments(&["--map-root-user", "chroot", &folder]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut layer = Archive::new(7);
        layer.file("usr/sbin/nft", 0o755, b"program").unwrap();
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", layer.finish().unwrap());
        image(&layer, 7).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        assert_eq!(sample(), sample());
    }

    #[test]
    fn every_digest_names_a_blob_of_that_content() {
        let bytes = sample();
        let folder = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(folder.path()).unwrap();
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap()
        };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            let file = folder.path().join("blobs").join(digest);
            let sum = Tool::new("sha256sum", folder.path()).arguments(&[file.to_str().unwrap()]).capture().unwrap();
            assert!(descriptor["digest"].as_str().unwrap().ends_with(&sum[..64]));
            assert_eq!(descriptor["size"], std::fs::metadata(&file).unwrap().len());
            std::fs::read(file).unwrap()
        };
        let manifest: Value = serde_json::from_slice(&blob(&read("index.json")["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        blob(&manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(read("manifest.json")[0]["RepoTags"][0], NAME);
    }

    #[test]
    fn the_manifests_name_this_image() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = ["kustomize/daemonset.yaml", "uninstall/base/daemonset.yaml", "uninstall/base/services.yaml"];
        for file in files.map(|file| format!("install/{file}")) {
            let text = std::fs::read_to_string(root.join(&file)).unwrap();
            let images = text.lines().filter_map(|line| line.trim().strip_prefix("image: "));
            assert!(images.clone().count() > 0 && images.clone().all(|image| image == NAME), "{file}");
        }
    }
}
