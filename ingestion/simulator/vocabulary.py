"""The words that product names are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subcategory:
    """A shelf: what stands on it, of what it is made, and what it costs in the middle.

    Attributes:
        nouns: kinds of products.
        price: median price.
    """

    name: str
    nouns: tuple[str, ...]
    price: float


@dataclass(frozen=True)
class Category:
    """A department with its shelves, materials and brands."""

    name: str
    materials: tuple[str, ...]
    brands: tuple[str, ...]
    shelves: tuple[Subcategory, ...]


def _shelf(name: str, price: float, nouns: str) -> Subcategory:
    return Subcategory(name, tuple(nouns.split(", ")), price)


def _category(name: str, materials: str, brands: str, *shelves: Subcategory) -> Category:
    return Category(name, tuple(materials.split(", ")), tuple(brands.split(", ")), shelves)


CATEGORIES: tuple[Category, ...] = (
    _category(
        "Women",
        "Cotton, Linen, Merino, Silk, Denim, Jersey",
        "Maren, Lindqvist, Solenne, Aster & Vale, Nuno",
        _shelf("Dresses", 69, "Wrap Dress, Shirt Dress, Midi Dress, Slip Dress, Knit Dress"),
        _shelf("Tops", 29, "T-Shirt, Blouse, Tank Top, Henley, Polo Shirt"),
        _shelf("Knitwear", 59, "Cardigan, Crewneck Jumper, Turtleneck, Pullover Vest"),
        _shelf("Trousers", 54, "Wide-Leg Trousers, Slim Jeans, Chinos, Culottes, Leggings"),
    ),
    _category(
        "Men",
        "Cotton, Linen, Merino, Denim, Flannel, Twill",
        "Halvorsen, Kestrel, Brook & Finch, Tern, Nuno",
        _shelf("Shirts", 49, "Oxford Shirt, Overshirt, Flannel Shirt, Camp Shirt"),
        _shelf("T-Shirts", 24, "Crew T-Shirt, Pocket T-Shirt, Long-Sleeve T-Shirt, Henley"),
        _shelf("Jackets", 119, "Field Jacket, Bomber Jacket, Chore Coat, Parka, Blazer"),
        _shelf("Trousers", 59, "Straight Jeans, Chinos, Cargo Trousers, Joggers"),
    ),
    _category(
        "Shoes",
        "Leather, Suede, Canvas, Mesh, Recycled",
        "Strada, Ostby, Fleetfoot, Cordwain, Lindqvist",
        _shelf("Sneakers", 89, "Low Sneaker, High-Top, Court Shoe, Trainer"),
        _shelf("Boots", 139, "Chelsea Boot, Hiking Boot, Ankle Boot, Work Boot"),
        _shelf("Sandals", 49, "Slide, Strap Sandal, Espadrille, Clog"),
        _shelf("Running", 109, "Road Runner, Trail Runner, Racing Flat, Recovery Shoe"),
    ),
    _category(
        "Electronics",
        "Wireless, Compact, Aluminium, Smart, Portable",
        "Voltra, Hexon, Pico Labs, Auralis, Nimbus",
        _shelf("Headphones", 99, "Earbuds, Over-Ear Headphones, Sport Headphones, Headset"),
        _shelf("Speakers", 79, "Bluetooth Speaker, Soundbar, Shelf Speaker, Radio"),
        _shelf("Charging", 29, "Power Bank, USB-C Charger, Charging Pad, Travel Adapter"),
        _shelf("Wearables", 149, "Fitness Band, Smart Watch, Sleep Tracker, GPS Watch"),
        _shelf("Computer Accessories", 45, "Mechanical Keyboard, Mouse, Webcam, Laptop Stand, Dock"),
    ),
    _category(
        "Home",
        "Oak, Linen, Brass, Ceramic, Walnut, Wool",
        "Hearth & Co, Lumen, Nordvik, Casa Alba, Weft",
        _shelf("Lighting", 69, "Table Lamp, Floor Lamp, Pendant, Reading Light, Lantern"),
        _shelf("Bedding", 79, "Duvet Cover, Sheet Set, Pillowcase Pair, Quilt"),
        _shelf("Decor", 34, "Vase, Mirror, Candle Holder, Wall Print, Basket"),
        _shelf("Furniture", 189, "Side Table, Shelf, Stool, Armchair, Bench"),
    ),
    _category(
        "Kitchen",
        "Steel, Cast-Iron, Copper, Stoneware, Bamboo, Glass",
        "Forno, Tavola, Ironwood, Brew House, Casa Alba",
        _shelf("Cookware", 74, "Frying Pan, Saucepan, Casserole, Wok, Griddle"),
        _shelf("Knives", 64, "Chef's Knife, Paring Knife, Bread Knife, Santoku"),
        _shelf("Coffee & Tea", 44, "Pour-Over Set, Kettle, French Press, Grinder, Teapot"),
        _shelf("Tableware", 29, "Dinner Plate Set, Bowl Set, Mug Pair, Carafe"),
    ),
    _category(
        "Beauty",
        "Oat, Rose, Citrus, Charcoal, Sea Salt, Aloe",
        "Fleur & Salt, Botanik, Claro, Mild, Kuro",
        _shelf("Skin Care", 26, "Face Cream, Cleanser, Serum, Toner, Face Mask"),
        _shelf("Hair Care", 18, "Shampoo, Conditioner, Hair Oil, Styling Paste"),
        _shelf("Make-Up", 22, "Lipstick, Mascara, Tinted Balm, Highlighter"),
        _shelf("Fragrance", 68, "Eau de Parfum, Cologne, Scented Candle, Room Spray"),
    ),
    _category(
        "Sports",
        "Pro, Light, Grip, Carbon, Thermal, Eco",
        "Summitline, Fleetfoot, Tempo, Kinetic, Riverrun",
        _shelf("Yoga", 34, "Yoga Mat, Block Pair, Strap, Bolster"),
        _shelf("Camping", 95, "Tent, Sleeping Bag, Camping Stove, Headlamp, Hammock"),
        _shelf("Cycling", 59, "Helmet, Bike Light Set, Saddle Bag, Gloves, Floor Pump"),
        _shelf("Fitness", 39, "Kettlebell, Resistance Bands, Skipping Rope, Foam Roller"),
    ),
    _category(
        "Kids",
        "Organic, Wooden, Soft, Bright, Little, Cotton",
        "Pippin, Tiny Tern, Wobble, Marlo, Brook & Finch",
        _shelf("Toys", 24, "Train Set, Building Blocks, Puzzle, Stacking Rings, Plush Bear"),
        _shelf("Clothing", 22, "Romper, Dungarees, Hoodie, Rain Jacket, Pyjamas"),
        _shelf("Nursery", 44, "Cot Blanket, Night Light, Mobile, Changing Mat"),
        _shelf("Outdoor Play", 39, "Scooter, Sand Set, Kite, Garden Swing"),
    ),
    _category(
        "Books & Paper",
        "Illustrated, Pocket, Hardcover, Classic, Dotted, Recycled",
        "Inkwell, Foxglove Press, Meridian, Papier Noir, Quarto House",
        _shelf("Cookbooks", 27, "Baking Book, Vegetarian Cookbook, Noodle Book, Bread Book"),
        _shelf("Travel", 21, "City Guide, Hiking Atlas, Road-Trip Guide, Phrasebook"),
        _shelf("Notebooks", 14, "Notebook, Planner, Sketchbook, Journal"),
        _shelf("Art Supplies", 19, "Watercolour Set, Brush Pen Set, Pencil Tin, Sketch Pad"),
    ),
    _category(
        "Garden",
        "Terracotta, Cedar, Zinc, Copper, Hardy, Woven",
        "Fern & Spade, Greenhand, Nordvik, Orchard Lane, Riverrun",
        _shelf("Plants", 24, "Monstera, Olive Tree, Lavender, Succulent Trio, Fern"),
        _shelf("Pots", 29, "Planter, Hanging Pot, Window Box, Trough"),
        _shelf("Tools", 32, "Pruning Shears, Hand Trowel, Watering Can, Garden Fork"),
        _shelf("Outdoor Living", 129, "Fire Bowl, Parasol, Garden Chair, Picnic Blanket"),
    ),
    _category(
        "Bags",
        "Leather, Canvas, Waxed, Nylon, Felt",
        "Cordwain, Halden, Roamer, Weft, Solenne",
        _shelf("Backpacks", 89, "Rolltop Backpack, Daypack, Laptop Backpack, Rucksack"),
        _shelf("Handbags", 119, "Tote, Crossbody Bag, Bucket Bag, Clutch"),
        _shelf("Luggage", 159, "Cabin Suitcase, Weekender, Duffel, Garment Bag"),
        _shelf("Wallets", 39, "Card Holder, Bifold Wallet, Coin Purse, Passport Cover"),
    ),
)

STYLES: tuple[str, ...] = (
    "Everyday", "Classic", "Harbour", "Alpine", "Urban", "Meadow", "Studio", "Heritage", "Nordic", "Coastal",
    "Minimal", "Weekend", "Atlas", "Ember", "Luna", "Prairie", "Summit", "Willow", "Ivory", "Cobalt",
)  # fmt: skip

COUNTRIES: tuple[tuple[str, float], ...] = (
    ("Germany", 0.34), ("Austria", 0.09), ("Switzerland", 0.08), ("Netherlands", 0.12), ("France", 0.14),
    ("United Kingdom", 0.13), ("Denmark", 0.05), ("Poland", 0.05),
)  # fmt: skip
DEVICES: tuple[tuple[str, float], ...] = (("mobile", 0.58), ("desktop", 0.34), ("tablet", 0.08))
CHANNELS: tuple[tuple[str, float], ...] = (
    ("Direct", 0.3), ("Organic Search", 0.34), ("Paid Search", 0.12), ("Social", 0.12), ("Email", 0.12),
)  # fmt: skip
