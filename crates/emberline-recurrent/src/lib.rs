//! Recurrent layers: the LSTM cell, layer and stack, with torch state dicts.
