"""The stages of the data's way, and the loops that run them; the place where packages meet."""

import pydicom.config

# Values are kept as they came. The library's remarks on them would quote patients' data in warnings.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
