//! Tensors in the memory of the program: reading one waits for nothing and copies nothing.

use burn::tensor::{Device, Tensor};

/// Whether tensors of this device are in the memory of the program.
///
/// A training loop reads its losses at every update where this holds, and elsewhere only where it
/// has to, since reading waits for all work of a GPU.
pub fn is_on_host(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    {
        crate::flex::is_flex(device)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Where the numbers of a tensor are in memory; `None` if they are not on the host.
///
/// For tests that show that an update happened in place.
pub fn storage_address<const D: usize>(tensor: &Tensor<D>) -> Option<usize> {
    #[cfg(feature = "flex")]
    {
        let tensor = tensor.clone().inner();
        let tensor = tensor.try_into_primitive::<burn::backend::Flex>().ok()?;
        Some(tensor.bytes().as_ptr() as usize)
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = tensor;
        None
    }
}
