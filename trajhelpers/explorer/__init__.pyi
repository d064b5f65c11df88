from .explore import Explorer as Explorer, explore as explore
