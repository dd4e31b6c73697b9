//! A device by its name.

use std::fmt::{self, Display};
use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// The devices that a user can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceName {
    /// The CPU, in pure Rust.
    #[default]
    Flex,
    /// Any GPU, through the graphics interface that the machine offers.
    Wgpu,
    /// A GPU through Vulkan.
    Vulkan,
    /// An Apple GPU through Metal.
    Metal,
    /// An NVIDIA GPU through CUDA.
    Cuda,
}

/// Why there is no device of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The name is none of ours.
    #[error("there is no device {name:?}; the devices are {}", list(&DeviceName::ALL))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The program was built without it.
    #[error(
        "this program was built without the device {name}; add `--device {name}` to \
         `cargo xtask`, or build with the cargo feature `{name}`. What works here: {}",
        list(works)
    )]
    NotCompiled {
        /// What was asked for.
        name: DeviceName,
        /// The devices that can be opened.
        works: Vec<DeviceName>,
    },
    /// The program could use it, but the machine has none.
    #[error(
        "this machine has no {}. What works here: {}", name.needs(), list(works)
    )]
    Absent {
        /// What was asked for.
        name: DeviceName,
        /// The devices that can be opened.
        works: Vec<DeviceName>,
    },
}

/// What is known of one device name on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// The name to ask for.
    pub name: DeviceName,
    /// Whether the program was built with it.
    pub compiled: bool,
    /// What it is called by its driver, for each one found; empty where there is none.
    pub found: Vec<String>,
}

impl DeviceName {
    /// Every name, the default first.
    pub const ALL: [Self; 5] = [Self::Flex, Self::Wgpu, Self::Vulkan, Self::Metal, Self::Cuda];

    /// Whether the program was built with this device.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }

    /// Opens the first device of this name.
    pub fn open(self) -> Result<Device, DeviceError> {
        if !self.is_compiled() {
            return Err(DeviceError::NotCompiled { name: self, works: working() });
        }
        self.devices()
            .into_iter()
            .next()
            .ok_or_else(|| DeviceError::Absent { name: self, works: working() })
    }

    fn needs(self) -> &'static str {
        match self {
            Self::Flex => "processor that Flex runs on",
            Self::Wgpu => "graphics adapter with a Vulkan, Metal or DirectX 12 driver",
            Self::Vulkan => "graphics adapter with a Vulkan driver",
            Self::Metal => "graphics adapter with Metal",
            Self::Cuda => "NVIDIA GPU with a CUDA driver",
        }
    }

    /// The devices of this name, the best first: real GPUs before software ones.
    fn devices(self) -> Vec<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => vec![Device::flex()],
            #[cfg(feature = "wgpu")]
            Self::Wgpu => enumerate(burn::tensor::DeviceType::Wgpu),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => enumerate(burn::tensor::DeviceType::Vulkan),
            #[cfg(feature = "metal")]
            Self::Metal => enumerate(burn::tensor::DeviceType::Metal),
            #[cfg(feature = "cuda")]
            Self::Cuda => enumerate(burn::tensor::DeviceType::Cuda),
            #[allow(unreachable_patterns)]
            _ => Vec::new(),
        }
    }
}

/// What every name stands for on this machine.
pub fn report() -> Vec<DeviceReport> {
    DeviceName::ALL
        .map(|name| DeviceReport {
            name,
            compiled: name.is_compiled(),
            found: name.devices().iter().map(driver_name).collect(),
        })
        .to_vec()
}

/// The device that tests run on: Flex, or what `EMBERLINE_TEST_DEVICE` names.
///
/// # Panics
/// If that device cannot be opened: a test must not pass on another device than it was asked to.
pub fn test_device() -> Device {
    let name = std::env::var("EMBERLINE_TEST_DEVICE").unwrap_or_else(|_| "flex".to_string());
    let opened = name.parse::<DeviceName>().and_then(DeviceName::open);
    opened.unwrap_or_else(|error| panic!("tests need the device {name}: {error}"))
}

fn working() -> Vec<DeviceName> {
    DeviceName::ALL.into_iter().filter(|name| !name.devices().is_empty()).collect()
}

/// Drivers panic when their library is not there; here that only means that there is no device.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn enumerate(kind: burn::tensor::DeviceType) -> Vec<Device> {
    std::panic::catch_unwind(|| Device::enumerate(kind).into_vec()).unwrap_or_default()
}

fn driver_name(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    format!("{:?}", device.as_dispatch())
}

fn list(names: &[DeviceName]) -> String {
    match names {
        [] => "none".to_string(),
        names => names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", "),
    }
}

impl Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Flex => "flex",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
        })
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        Self::ALL
            .into_iter()
            .find(|device| device.to_string() == name)
            .ok_or_else(|| DeviceError::Unknown { name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for name in DeviceName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "tpu".parse::<DeviceName>().unwrap_err().to_string();
        assert!(message.contains("\"tpu\"") && message.contains("flex, wgpu"), "{message}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_names_its_feature_and_what_works() {
        let message = DeviceName::Cuda.open().unwrap_err().to_string();
        for word in ["`--device cuda`", "feature `cuda`", "What works here"] {
            assert!(message.contains(word), "no {word} in: {message}");
        }
    }

    #[test]
    fn a_device_that_the_machine_has_not_names_what_it_needs_and_what_works() {
        let error = DeviceError::Absent { name: DeviceName::Cuda, works: vec![DeviceName::Flex] };
        let message = "this machine has no NVIDIA GPU with a CUDA driver. What works here: flex";
        assert_eq!(error.to_string(), message);
    }
}
