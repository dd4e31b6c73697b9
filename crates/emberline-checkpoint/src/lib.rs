//! Model directories: strict loading and atomic writing of safetensors and config.json.
