import numpy as np
import pytest

from mrdcae_lite.coding.entropy import table_scale
from mrdcae_lite.core.pyramid import bands, typical_std
from mrdcae_lite.core.quality import quality_features, quantisation_step
from mrdcae_lite.training.context_model import starting_curve


@pytest.mark.parametrize("quality", [0, 100])
def test_the_starting_index_names_the_scale_of_each_band(quality):
    std = typical_std(bands(coarsest=True), 32)
    index = 4 * quality_features(quality) @ starting_curve(std)
    scale = np.array([table_scale(i) for i in index])
    np.testing.assert_allclose(scale * np.sqrt(2) * quantisation_step(quality), std, rtol=1e-5)
