from .explore import Explorer as Explorer, explore as explore
from .pictures import PictureSlider as PictureSlider, picture_slider as picture_slider
from .parts import PagePart as PagePart
from .predicting import choose_map as choose_map, draw_curve as draw_curve
from .sentences import movable_sentence as movable_sentence
