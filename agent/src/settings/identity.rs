//! Who this virtual machine is: the UUID that its firmware tells.

use std::path::Path;

/// Where Linux shows the DMI system UUID. Readable by root only.
const DMI_PRODUCT_UUID: &str = "class/dmi/id/product_uuid";

/// Where Linux shows the device tree's UUID of the VM.
const DEVICE_TREE_VM_UUID: &str = "device-tree/vm,uuid";

/// The VM's UUID in lower case: `configured` if not empty, else DMI's, else the device tree's, else empty.
///
/// The text is not judged: a host monitor records an empty or malformed one as a VM that cannot be managed, which
/// is where its administrator looks.
#[must_use]
pub fn vm_uuid(configured: &str) -> String {
    if configured.is_empty() {
        firmware_uuid(Path::new("/sys"), Path::new("/proc"))
    } else {
        normal(configured)
    }
}

fn firmware_uuid(sys: &Path, proc: &Path) -> String {
    [sys.join(DMI_PRODUCT_UUID), proc.join(DEVICE_TREE_VM_UUID)]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| normal(&text))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Without the line end of sysfs and the NUL of the device tree, in lower case.
fn normal(text: &str) -> String {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    #[test]
    fn settings_then_dmi_then_device_tree() {
        let directory = tempfile::tempdir().unwrap();
        let (sys, proc) = (directory.path().join("sys"), directory.path().join("proc"));
        assert_eq!(firmware_uuid(&sys, &proc), "");
        write(&proc, DEVICE_TREE_VM_UUID, "315CE56B-9BA0-46A1-B4BC-DA6108574E7E\0");
        assert_eq!(firmware_uuid(&sys, &proc), "315ce56b-9ba0-46a1-b4bc-da6108574e7e");
        write(&sys, DMI_PRODUCT_UUID, "61BE20F0-09a8-4753-b5e5-564f8a545ed5\n");
        assert_eq!(firmware_uuid(&sys, &proc), "61be20f0-09a8-4753-b5e5-564f8a545ed5");
        assert_eq!(vm_uuid(" ABC "), "abc");
    }
}
