/** A question, and the fields of its answer: `name:type`, a type being as `fieldSchema` reads it. */
const LINES = `
Describe a person named Anna from Berlin.|name:str40 age:0-120 city:str30 occupation:str30 is_married:bool
Extract the order: two large pizzas to 5 Main Street, paid by card.|item:str30 quantity:1-99 size:small,medium,large delivery_address:str60 payment_method:cash,card
Review the film Titanic.|title:str40 year:1900-2030 rating:1-10 summary:str120 recommended:bool
Classify the sentiment of: I loved this restaurant.|sentiment:positive,negative,neutral confidence:num explanation:str100
Plan a meeting about the budget on Monday at ten.|subject:str60 date:date start_time:time duration_in_minutes:15-240 participants:[str30]
Give facts about the planet Mars.|planet_name:str20 distance_from_sun_in_million_km:int number_of_moons:0-100 has_rings:bool
Describe a book on gardening.|book_title:str60 author_name:str40 number_of_pages:10-2000 genres:[str20] in_print:bool
Write a product entry for a blue cotton shirt.|product_name:str40 category:clothing,electronics,food price:num currency:EUR,USD,GBP available_colours:[str15]
Report the weather in Paris.|location:str30 temperature_in_celsius:-60-60 condition:sunny,cloudy,rainy,snowy wind_speed:0-200 humidity_percent:0-100
Log an error in the payment service.|timestamp:date-time severity_level:debug,info,warning,error service_name:str30 error_message:str80 retryable:bool
Give a recipe for pancakes.|recipe_name:str40 servings:1-12 preparation_minutes:1-240 ingredients:[str30] difficulty:easy,medium,hard
Describe the capital of Japan.|country:str30 capital_city:str30 population:int official_language:str20 continent:Africa,Asia,Europe,America,Oceania
Fill in a job application for a nurse.|first_name:str20 last_name:str20 email_address:email years_of_experience:0-60 available_from:date
Register a user.|user_name:str20 user_id:uuid email_address:email newsletter_subscription:bool account_type:free,premium,enterprise
Describe a dog breed.|breed_name:str30 average_weight_kg:1-100 life_span_years:5-20 temperament:[str15] good_with_children:bool
Summarise: The company sold 500 cars in March.|company_action:str40 units_sold:int month_of_report:str12 product_type:str20 confidence_score:num
Describe a flight from London to Rome.|flight_number:str8 departure_airport:str30 arrival_airport:str30 departure_time:date-time seat_class:economy,business,first
Open a support ticket: the printer does not print.|ticket_title:str60 priority:low,medium,high,urgent affected_device:str30 description:str120 customer_is_waiting:bool
Describe a triangle with sides three, four and five.|shape:str20 side_lengths:[int] is_right_angled:bool area:num
Give the configuration of a web server.|server_name:str30 port_number:1-65535 use_https:bool log_level:debug,info,warning,error ip_address:ipv4
Translate 'good morning' to French.|source_language:str20 target_language:str20 source_text:str40 translated_text:str40 is_formal:bool
Describe the atom of gold.|element_name:str20 chemical_symbol:str2 atomic_number:1-118 state_at_room_temperature:solid,liquid,gas
Review a hotel near the beach.|hotel_name:str40 overall_rating:1-5 cleanliness_rating:1-5 location_rating:1-5 would_stay_again:bool comment:str100
Describe a song by the Beatles.|song_title:str40 artist_name:str40 release_year:1950-2030 music_genre:str20 length_in_seconds:30-1200
Describe a chess opening.|opening_name:str40 first_moves:[str6] favoured_side:white,black,neither difficulty_level:beginner,intermediate,advanced
Extract the invoice: 300 euros for consulting, due in May.|invoice_total:num invoice_currency:EUR,USD,GBP service_description:str60 payment_due_date:date already_paid:bool
Describe a football match.|home_team:str30 away_team:str30 home_team_goals:0-20 away_team_goals:0-20 match_date:date stadium:str40
Describe a car.|manufacturer:str20 model_name:str20 production_year:1950-2030 fuel_type:petrol,diesel,electric,hybrid number_of_doors:2-5
Describe an apartment for rent.|street_address:str60 number_of_rooms:1-12 monthly_rent:100-20000 pets_allowed:bool available_from:date
Describe a course on algebra.|course_title:str40 instructor_name:str40 credit_points:1-30 required_courses:[str30] offered_online:bool
Describe a plant for a dark room.|common_name:str30 botanical_name:str40 water_needs:low,medium,high sunlight_needs:low,medium,high toxic_to_pets:bool
Describe a medical appointment.|patient_name:str40 appointment_date:date-time doctor_name:str40 reason_for_visit:str60 first_visit:bool
Describe a river.|river_name:str30 length_in_kilometres:int source_location:str40 countries:[str20] is_navigable:bool
Describe a museum.|museum_name:str40 founded_in_year:1600-2030 located_in_city:str30 entrance_fee:num famous_works:[str40]
Describe a programming language.|language_name:str20 first_released:1950-2030 typing_discipline:static,dynamic paradigms:[str20] is_open_source:bool
Describe a bank transfer.|sender_name:str40 recipient_name:str40 transfer_amount:num transfer_currency:EUR,USD,GBP execution_date:date
Describe a volcano.|volcano_name:str30 height_in_metres:100-7000 last_eruption_year:1000-2030 currently_active:bool country:str30
Describe a bird.|species_name:str30 wing_span_cm:5-400 diet:[str20] can_fly:bool conservation_status:safe,threatened,endangered
Describe a bicycle tour.|tour_name:str40 total_distance_km:1-5000 number_of_stages:1-40 starting_point:str30 difficulty:easy,medium,hard
Describe a wine.|wine_name:str40 grape_variety:str30 vintage_year:1950-2030 colour:red,white,rose alcohol_percent:num
Describe a software release.|project_name:str30 version_number:str10 release_date:date new_features:[str60] breaking_changes:bool
Describe a kitchen tool.|tool_name:str30 main_material:str20 dishwasher_safe:bool typical_uses:[str30] price_range:low,medium,high
Describe a holiday.|holiday_name:str30 celebrated_in:[str20] month_of_celebration:1-12 is_public_holiday:bool origin:str80
Describe a scientist.|full_name:str40 born_in_year:1000-2020 field_of_research:str30 known_for:[str40] won_nobel_prize:bool
Describe a painting.|painting_title:str40 painter_name:str40 completed_in_year:1200-2030 art_movement:str30 displayed_at:str40
Describe a board game.|game_name:str30 minimum_players:1-10 maximum_players:1-20 playing_time_minutes:5-600 cooperative:bool
Describe a newspaper article about rain.|headline:str80 published_on:date section:news,sports,culture,business word_count:50-5000 keywords:[str15]
Describe a train connection.|train_number:str8 departure_station:str30 arrival_station:str30 duration_in_minutes:5-1500 number_of_changes:0-6
Describe a fish.|common_name:str30 habitat:freshwater,saltwater,both maximum_length_cm:1-1500 edible:bool colours:[str15]
Describe a team.|team_name:str30 number_of_members:1-100 team_leader:str40 current_projects:[str40] works_remotely:bool
`;

export interface Asked {
  readonly question: string;
  readonly schema: object;
}

/** Fifty questions with the schemas of their answers. */
export const ASKED: readonly Asked[] = LINES.trim()
  .split("\n")
  .map((line) => {
    const [question = "", fields = ""] = line.split("|");
    const properties = Object.fromEntries(
      fields.split(" ").map((field) => {
        const [name = "", type = ""] = field.split(":");
        return [name, fieldSchema(type)];
      }),
    );
    return {
      question,
      schema: { type: "object", properties, required: Object.keys(properties), additionalProperties: false },
    };
  });

/** `bool`, `int`, `num`, `strN` (at most N characters), `LOW-HIGH`, `a,b,c`, a format, or `[TYPE]` (at most 4). */
function fieldSchema(type: string): object {
  if (type === "bool") return { type: "boolean" };
  if (type === "int") return { type: "integer", minimum: 0 };
  if (type === "num") return { type: "number", minimum: 0, maximum: 1000 };
  if (type.startsWith("[")) return { type: "array", items: fieldSchema(type.slice(1, -1)), minItems: 1, maxItems: 4 };
  if (type.startsWith("str")) return { type: "string", maxLength: Number(type.slice(3)) };
  const [, low, high] = /^(-?\d+)-(\d+)$/.exec(type) ?? [];
  if (low !== undefined) return { type: "integer", minimum: Number(low), maximum: Number(high) };
  return type.includes(",") ? { enum: type.split(",") } : { type: "string", format: type };
}
