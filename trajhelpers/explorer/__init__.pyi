from .explore import Explorer as Explorer, explore as explore
from .pictures import PictureSlider as PictureSlider, picture_slider as picture_slider
